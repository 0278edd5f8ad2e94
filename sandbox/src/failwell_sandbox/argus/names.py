"""
Names of competitors in a text: as they are written, disguised, or misspelled.

The text is cut into words once; a name is looked for as a sequence of words, so that "Globex" is
found in "globex's" and not in "globexian". Scripts that are written without spaces have no such
words: there a name is found wherever it stands.

Misspelled means: a few letters wrong, missing, too many or swapped (the optimal string alignment
distance, by rapidfuzz), as a part of the longer of the two at most `1 - min_score`. Names of fewer
than 5 letters have too many neighbours that mean something else; they are only found as they are.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rapidfuzz import process
from rapidfuzz.distance import OSA

from failwell_sandbox.argus.views import View, folded

# The least letters of a name that is also looked for misspelled.
FUZZY_FROM = 5

# Names of more words than this are only found as they are.
MOST_WORDS = 6

# How sure a name is that had to be read behind a disguise, and two words for one at the most.
DISGUISED = 0.95

# A word is letters and digits of any script, without the underscore.
_WORD = re.compile(r"[^\W_]+")

# Written without spaces: Thai to Burmese, Khmer, kana, Han.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]"
)


@dataclass(frozen=True, slots=True)
class Mention:
    """
    A name in a text.

    Attributes:
        name: As it was given.
        how: "exact", "disguised" or "fuzzy".
        start: In code points of the text.
        end: The first that is no part of it.
        score: From 0 to 1.
    """

    name: str
    how: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a view, and where each begins and ends in it."""

    view: View
    words: Sequence[str]
    starts: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, view: View) -> _Words:
        found = [(match.group(), match.start(), match.end()) for match in _WORD.finditer(view.text)]
        words, starts, ends = zip(*found, strict=True) if found else ((), (), ())
        return cls(view, words, starts, ends)

    def joined(self, count: int) -> list[str]:
        """Every `count` words that follow each other, as one."""
        if count == 1:
            return list(self.words)
        shifted = (self.words[n:] for n in range(count))
        return ["".join(window) for window in zip(*shifted, strict=False)]

    def span(self, first: int, count: int) -> tuple[int, int]:
        return self.view.span(self.starts[first], self.ends[first + count - 1])


def mentions(text: str, names: Iterable[str], min_score: float) -> list[Mention]:
    """
    Where `names` are mentioned in `text`, by name and place; no two mentions of a name overlap.

    Args:
        text: Any text.
        names: What to look for. One without letters and digits is never found.
        min_score: The least score of a mention.
    """
    wanted = [(name, key) for name in dict.fromkeys(names) if (key := _key(name))]
    if not wanted:
        return []
    words = _Words.of(folded(text))
    windows: dict[int, list[str]] = {}
    places: dict[int, dict[str, list[int]]] = {}
    found = []
    for name, key in wanted:
        if _UNSPACED.search(name):
            hits = list(_anywhere(words.view, folded(name).text))
        else:
            hits = [words.span(first, len(key)) for first in _sequences(words, key, places)]
        mine = [_as_found(name, hit, text) for hit in hits]
        letters = "".join(key)
        if len(letters) >= FUZZY_FROM and len(key) <= MOST_WORDS and min_score < 1.0:
            mine += _misspelled(words, name, key, windows, min_score)
        found += _apart(mention for mention in mine if mention.score >= min_score)
    return found


def _key(name: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(folded(name).text))


def _sequences(words: _Words, key: tuple[str, ...], places: dict[int, dict[str, list[int]]]) -> Sequence[int]:
    """The first words of where `key` stands, word for word."""
    # By how many words it has: each length is joined once, whatever the number of names.
    count = len(key)
    if count not in places:
        index: dict[str, list[int]] = {}
        shifted = (words.words[n:] for n in range(count))
        for first, window in enumerate(zip(*shifted, strict=False)):
            index.setdefault("\0".join(window), []).append(first)
        places[count] = index
    return places[count].get("\0".join(key), ())


def _anywhere(view: View, needle: str) -> Iterator[tuple[int, int]]:
    at = view.text.find(needle)
    while at >= 0:
        yield view.span(at, at + len(needle))
        at = view.text.find(needle, at + len(needle))


def _as_found(name: str, hit: tuple[int, int], text: str) -> Mention:
    start, end = hit
    if _said(text[start:end]) == _said(name):
        return Mention(name, "exact", start, end, 1.0)
    return Mention(name, "disguised", start, end, DISGUISED)


def _said(written: str) -> list[str]:
    """The words, where case and the signs between them make no difference, and nothing else is alike."""
    return _WORD.findall(unicodedata.normalize("NFC", written).casefold())


def _misspelled(
    words: _Words, name: str, key: tuple[str, ...], windows: dict[int, list[str]], min_score: float
) -> Iterable[Mention]:
    letters = "".join(key)
    for count in {max(1, len(key) - 1), len(key), len(key) + 1}:
        if count not in windows:
            windows[count] = words.joined(count)
        near = process.extract_iter(
            letters, windows[count], scorer=OSA.normalized_similarity, score_cutoff=min_score
        )
        for _window, score, first in near:
            if score < 1.0 or count != len(key):
                # Two words that should be one, or one that should be two, are a slip as well.
                kept = min(score, DISGUISED) if count != len(key) else score
                yield Mention(name, "fuzzy", *words.span(first, count), round(kept, 3))


def _apart(found: Iterable[Mention]) -> list[Mention]:
    """The surest of the mentions that overlap; of equally sure ones the shortest, then the first."""
    kept: list[Mention] = []
    starts: list[int] = []  # of those that are kept, which do not overlap: in the same order
    for mention in sorted(found, key=lambda m: (-m.score, m.end - m.start, m.start)):
        at = bisect_left(starts, mention.start)
        if at > 0 and kept[at - 1].end > mention.start:
            continue
        if at < len(kept) and kept[at].start < mention.end:
            continue
        starts.insert(at, mention.start)
        kept.insert(at, mention)
    return kept
