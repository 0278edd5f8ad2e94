"""
Names of competitors in a text: as they are written, disguised, or misspelled.

The text is cut into words once; a name is looked for as a sequence of words, so that "Globex" is
found in "globex's" and not in "globexian". Scripts that are written without spaces have no such
words, and Korean writes what other languages have prepositions for at the end of the word: there a
name is found wherever it stands.

What stands between words makes no difference, except for the signs that are read out: "AT&T" is not
in "at t", "C++" not in "vitamin C". A long name without them is a misspelled one.

Misspelled means: a few letters wrong, missing, too many or swapped (the optimal string alignment
distance, by rapidfuzz), as a part of the longer of the two at most `1 - min_score`. Names of fewer
than 5 letters have too many neighbours that mean something else; they are only found as they are.
Hangul is compared by its letters, of which a syllable has two or three.
"""

from __future__ import annotations

import math
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise

from rapidfuzz import process
from rapidfuzz.distance import OSA

from failwell_sandbox.argus.views import MARKS, View, folded

# The least letters of a name that is also looked for misspelled.
FUZZY_FROM = 5

# Names of more words than this are only found as they are: each number of words is looked through anew.
MOST_WORDS = 4

# What is less like a name than this is no misspelling of it, whatever a check asks for.
LEAST_ALIKE = 0.6

# So many mentions of one name are looked at, of each kind: an answer does not hold more anyway.
MOST_MENTIONS = 1001

# How sure a name is that had to be read behind a disguise, and two words for one at the most.
DISGUISED = 0.95

# A word is letters and digits of any script with their marks, without the underscore.
_WORD = re.compile(rf"[^\W_]+(?:[{MARKS}]+[^\W_]*)*")

# Thai to Burmese, Khmer, kana, Han; Hangul, in a view as its letters.
_UNSPACED = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
    r"\u1100-\u11ff]"
)

# What stands behind a letter and makes another one of it: a mark, the rest of a syllable of Hangul.
_MORE = re.compile(rf"[{MARKS}\u1160-\u11ff]")

# Signs that are read out, and so are a part of a name.
_SIGNS = "&+#@%$€£¥"
MOST_SIGNS = 4  # in a row, before a name or behind it
_SIGNS_BEFORE, _SIGNS_BEHIND = re.compile(rf"[{_SIGNS}]*\Z"), re.compile(rf"[{_SIGNS}]*")


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
class _Name:
    """
    A name that is looked for.

    Attributes:
        given: As it came.
        folded: The whole of it, as the text is looked at.
        words: Its words.
        signs: Those that are read out: before the words, between them, behind them. Empty if
            there are none.
        letters: How many it is written with.
    """

    given: str
    folded: str
    words: tuple[str, ...]
    signs: tuple[str, ...]
    letters: int

    @classmethod
    def of(cls, given: str) -> _Name:
        text = folded(given).text
        found = [match.span() for match in _WORD.finditer(text)]
        words = tuple(text[start:end] for start, end in found)
        signs = _signs(text, found) if found else ()
        return cls(given, text, words, signs if any(signs) else (), sum(map(len, _said(given))))


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of a view, and where each begins and ends in it."""

    view: View
    words: Sequence[str]
    starts: Sequence[int]
    ends: Sequence[int]
    # All words, each between two separators, and where in it each has the one before it.
    line: str
    offsets: Sequence[int]
    # By how many words: every so many that follow each other, as one, by its length, and where.
    windows: dict[int, dict[int, tuple[list[str], list[int]]]]

    @classmethod
    def of(cls, view: View) -> _Words:
        found = [(match.group(), match.start(), match.end()) for match in _WORD.finditer(view.text)]
        words, starts, ends = zip(*found, strict=True) if found else ((), (), ())
        offsets = list(accumulate((len(word) + 1 for word in words), initial=0))
        return cls(view, words, starts, ends, "\0".join(("", *words, "")), offsets, {})

    def sequences(self, key: Sequence[str]) -> Iterator[int]:
        """The first words of where `key` stands, word for word."""
        needle = "\0".join(("", *key, ""))
        at = self.line.find(needle)
        while at >= 0:
            yield bisect_left(self.offsets, at)
            at = self.line.find(needle, at + len(needle) - 1)

    def near(self, letters: str, count: int, least: float) -> Iterator[tuple[int, float]]:
        """Where `count` words as one are like `letters`, at least so much: the first word, and how much."""
        if count not in self.windows:
            self.windows[count] = self._joined(count)
        lengths = self.windows[count]
        # As many letters more or less are as many that differ.
        for length in range(math.ceil(len(letters) * least), int(len(letters) / least) + 1):
            if length in lengths:
                joined, firsts = lengths[length]
                found = process.extract_iter(
                    letters, joined, scorer=OSA.normalized_similarity, score_cutoff=least
                )
                for _, score, index in islice(found, MOST_MENTIONS):
                    yield firsts[index], score

    def _joined(self, count: int) -> dict[int, tuple[list[str], list[int]]]:
        by_length: dict[int, tuple[list[str], list[int]]] = {}
        shifted = (self.words[n:] for n in range(count))
        for first, window in enumerate(zip(*shifted, strict=False)):
            joined = "".join(window)
            words, firsts = by_length.setdefault(len(joined), ([], []))
            words.append(joined)
            firsts.append(first)
        return by_length

    def span(self, first: int, count: int) -> tuple[int, int]:
        return self.view.span(self.starts[first], self.ends[first + count - 1])

    def written(self, name: _Name) -> Iterator[tuple[int, int]]:
        """Where `name` stands, word for word and with its signs."""
        text, count = self.view.text, len(name.words)
        for first in self.sequences(name.words):
            if not name.signs:
                yield self.span(first, count)
                continue
            behind = first + count
            signs = _signs(text, list(zip(self.starts[first:behind], self.ends[first:behind], strict=True)))
            if all(wanted in ("", there) for wanted, there in zip(name.signs, signs, strict=True)):
                before, after = len(name.signs[0]), len(name.signs[-1])
                yield self.view.span(self.starts[first] - before, self.ends[behind - 1] + after)


def mentions(text: str, names: Iterable[str], min_score: float) -> list[Mention]:
    """
    Where `names` are mentioned in `text`, by name and place; no two mentions of a name overlap.

    Args:
        text: Any text.
        names: What to look for. One without letters and digits is never found.
        min_score: The least score of a mention.
    """
    wanted = [name for given in dict.fromkeys(names) if (name := _Name.of(given)).words]
    if not wanted:
        return []
    words = _Words.of(folded(text))
    found = []
    for name in wanted:
        hits = _anywhere(words.view, name) if _UNSPACED.search(name.folded) else words.written(name)
        mine = [_as_found(name.given, hit, text) for hit in islice(hits, MOST_MENTIONS)]
        if name.letters >= FUZZY_FROM and len(name.words) <= MOST_WORDS and min_score < 1.0:
            mine += _misspelled(words, name, max(min_score, LEAST_ALIKE))
        found += _apart(mention for mention in mine if mention.score >= min_score)
    return found


def _signs(text: str, words: Sequence[tuple[int, int]]) -> tuple[str, ...]:
    """The signs that are read out, right before `words`, anywhere between them, and right behind them."""
    begin, end = words[0][0], words[-1][1]
    before = _SIGNS_BEFORE.search(text, max(0, begin - MOST_SIGNS), begin)
    behind = _SIGNS_BEHIND.match(text, end, end + MOST_SIGNS)
    assert before is not None
    assert behind is not None  # each of them matches nothing at all as well
    between = (
        "".join(char for char in text[end:start] if char in _SIGNS)
        for (_, end), (start, _) in pairwise(words)
    )
    return (before.group(), *between, behind.group())


def _anywhere(view: View, name: _Name) -> Iterator[tuple[int, int]]:
    parts = name.folded.split()
    # What is of ASCII begins and ends where a word does, in these scripts as well.
    begins = r"(?<![a-z0-9])" if re.match("[a-z0-9]", parts[0]) else ""
    ends = r"(?![a-z0-9])" if re.search(r"[a-z0-9]\Z", parts[-1]) else ""
    for match in re.finditer(begins + r"\s*".join(map(re.escape, parts)) + ends, view.text):
        if not _MORE.match(view.text, match.end()):
            yield view.span(*match.span())


def _as_found(name: str, hit: tuple[int, int], text: str) -> Mention:
    start, end = hit
    if _said(text[start:end]) == _said(name):
        return Mention(name, "exact", start, end, 1.0)
    return Mention(name, "disguised", start, end, DISGUISED)


def _said(written: str) -> list[str]:
    """The words, where case and the signs between them make no difference, and nothing else is alike."""
    return _WORD.findall(unicodedata.normalize("NFC", written).casefold())


def _misspelled(words: _Words, name: _Name, least: float) -> Iterator[Mention]:
    as_many = len(name.words)
    for count in {max(1, as_many - 1), as_many, as_many + 1}:
        # Two words that should be one, or one that should be two, are a slip as well.
        right = count == as_many and not name.signs
        for first, score in words.near("".join(name.words), count, least):
            if score < 1.0 or not right:
                score = round(min(score, 1.0 if right else DISGUISED), 3)
                yield Mention(name.given, "fuzzy", *words.span(first, count), score)


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
