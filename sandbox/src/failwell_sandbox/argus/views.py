"""
A text as a person reads it, with the way back to where each character stands.

Who wants a name or a number to be overlooked writes it so that only people recognise it: with
characters of no width between the letters, with letters of another script that look the same, in
full width, in mathematical bold. A `View` takes that back, character by character, and knows for
each character of what is left at which index of the text it was.

    plain   invisible characters dropped, compatibility forms and accents taken away (NFKD), all
            digits, blanks and dashes those of ASCII: for secrets and numbers, which have a case
    folded  the same without case, look-alikes as the Latin letters they look like: for names

Accents are the marks that people leave out without writing another word: those of Latin, Greek and
Cyrillic, the vowel points of Hebrew and Arabic. The vowel signs of Indic scripts and of Thai, and
the marks that make another kana, are no accents: they stay.

Everything is looked up by character, in a table that is filled once: the time is linear.

Source:
    Unicode Standard Annex 15 (NFKD), Technical Standard 39 (confusables), of which `_LOOK_ALIKES`
    has the Cyrillic, Greek and Armenian letters that look like Latin ones in most fonts.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache

# One character becomes so many at the most.
MOST_PARTS = 4

# Lower-case letters that look like the Latin ones below them, and those that are Latin ones with a
# stroke or two in one, which have no other form in Unicode.
_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһӏԛԝѵкмтвнґ" "αορνιυκτχγѡεηωρβ" "օոսցհզք" "ıſɡɑ" "øłđħŧ",
    "aeopcyxijsdhlqwvkmtbhr" "aopviuktxywenwpb" "onughqp" "isga" "oldht",
) | str.maketrans({"æ": "ae", "ӕ": "ae", "œ": "oe"})  # fmt: skip

# What a reader does not see, besides the category Cf: fillers, the selectors of variants, and the
# bar that makes an Arabic word longer.
_INVISIBLE = frozenset("\u034f\u0640\u115f\u1160\u17b4\u17b5\u3164\uffa0") | {
    *map(chr, range(0xFE00, 0xFE10)),
    *map(chr, range(0x180B, 0x180E)),
    *map(chr, range(0xE0100, 0xE01F0)),
}

# Latin, Greek and Cyrillic; Hebrew; Arabic; Syriac; for all of them; around a sign; halves.
_ACCENTS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    "\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed"
    "\u0711\u0730-\u074a\u1ab0-\u1ace\u1dc0-\u1dff\u20d0-\u20f0\ufe20-\ufe2f]"
)


def _every_mark() -> str:
    """The characters that belong to the letter before them, for a class of a regular expression."""
    # Above, there are only selectors of variants, which nobody sees.
    marks = [code for code in range(0x300, 0x20000) if unicodedata.category(chr(code))[0] == "M"]
    ends = [n for n, code in enumerate(marks) if n + 1 == len(marks) or marks[n + 1] != code + 1]
    starts = [0, *(n + 1 for n in ends[:-1])]
    return "".join(f"{chr(marks[a])}-{chr(marks[b])}" for a, b in zip(starts, ends, strict=True))


# `\w` has letters and digits alone; in many scripts the half of a word is marks.
MARKS = _every_mark()


class View:
    """
    A text with another spelling.

    Args:
        text: The text as it came.
        spell: What a character becomes: nothing, one character or several.

    Attributes:
        text: The other spelling.
        same: Whether every character stands where it stood.
    """

    __slots__ = ("_changes", "_shifts", "_source", "same", "text")

    def __init__(self, text: str, spell: Callable[[str], str]) -> None:
        self._source = text
        spelled = {char: spell(char) for char in set(text)}
        self.text = text.translate({ord(char): new for char, new in spelled.items() if new != char})
        # Where one character did not become one: index in the view, and what to add from there on.
        odd = {char: new for char, new in spelled.items() if len(new) != 1}
        self.same = not odd
        self._changes: list[int] = []
        self._shifts: list[int] = []
        if odd:
            self._note(text, odd)

    def _note(self, text: str, odd: dict[str, str]) -> None:
        at = 0  # in the view
        for index, char in enumerate(text):
            new = odd.get(char)
            if new is None:
                at += 1
                continue
            if not new:
                self._add(at, index + 1 - at)
                continue
            for part in range(1, len(new)):  # all of them stand where the one stood
                self._add(at + part, index - at - part)
            at += len(new)
            self._add(at, index + 1 - at)

    def _add(self, at: int, shift: int) -> None:
        if self._changes and self._changes[-1] == at:
            self._shifts[-1] = shift
        else:
            self._changes.append(at)
            self._shifts.append(shift)

    def index(self, at: int) -> int:
        """Where the character at index `at` of the view stands in the text."""
        if self.same:
            return at
        found = bisect_right(self._changes, at)
        return at + (self._shifts[found - 1] if found else 0)

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Where the characters from `start` up to `end` of the view stand in the text."""
        behind = self.index(end - 1) + 1
        while behind < len(self._source) and _is_accent(self._source[behind]):
            behind += 1
        return self.index(start), behind


def plain(text: str) -> View:
    """`text` without what is not seen and without forms that only look different."""
    return View(text, _plain)


def folded(text: str) -> View:
    """`text` as names are compared: also without case and with look-alikes as Latin letters."""
    return View(text, _folded)


@lru_cache(maxsize=65536)
def _plain(char: str) -> str:
    if "\x20" <= char < "\x7f":
        return char
    category = unicodedata.category(char)
    if category == "Cf" or char in _INVISIBLE:
        return ""
    if category in ("Zs", "Pd") or char == "\N{MINUS SIGN}":
        return " " if category == "Zs" else "-"
    kept = ""
    for part in unicodedata.normalize("NFKD", char):
        if _is_accent(part):
            continue
        digit = unicodedata.decimal(part, None)
        kept += part if digit is None else str(digit)
    # A ligature of a whole phrase (U+FDFA: 18 letters) would make a text longer than anybody sent it.
    return kept if len(kept) <= MOST_PARTS else char


@lru_cache(maxsize=65536)
def _folded(char: str) -> str:
    return _plain(char).casefold().translate(_LOOK_ALIKES)


def _is_accent(char: str) -> bool:
    """Whether `char` is one that the letter before it may be written without."""
    return _ACCENTS.match(char) is not None
