"""
Personal data in a text: what can be checked, is.

    email        dot-atoms before the @ (RFC 5321), of any script (RFC 6531), behind it a host name with
                 a top-level domain; the lengths of all parts
    card_number  13 to 19 digits, alone or in the groups that are printed on cards, with blanks, dots
                 or hyphens between them; the issuer's first digits and length, and Luhn (ISO/IEC
                 7812-1). No decimals of a number
    iban         alone or in groups of 4; the country's length, and mod 97 (ISO 13616)
    phone        with + or 00 and a country's code; a number that can be assigned (libphonenumber)

A phone number without its country is not looked for: any number could be one. What turns out to be
no number does not hide one that begins within it.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

import phonenumbers

from failwell_sandbox.argus.views import MARKS

# Tried as phone numbers in one text: each costs some hundred times what another character does.
MOST_PHONES = 10_000


class Datum(NamedTuple):
    """Where personal data stands, what it is, and how sure that is."""

    type: str
    start: int
    end: int
    score: float


def personal_data_in(text: str) -> list[Datum]:
    """Every e-mail address, card number, IBAN and phone number in `text`."""
    found = [*_emails(text), *_ibans(text), *_cards(text)]
    taken = sorted((each.start, each.end) for each in found)
    # What is a card number or part of an IBAN is no phone number as well.
    return found + [each for each in _phones(text) if not _overlaps(each, taken)]


# --- e-mail ---

# RFC 5321, section 4.5.3.1; RFC 1035, section 2.3.4.
_LOCAL, _DOMAIN = 64, 253
# Backwards. Latin letters go with those of ASCII; other scripts only if they stand before the @, since
# some are written without a blank before an address.
_BEFORE = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\u00c0-\u024f-]{1,65}"
    rf"|(?:[^\W_]|[{MARKS}])(?:[^\W_]|[{MARKS}._+-]){{0,64}}"
)
_LABEL = rf"[^\W_](?:[^\W_]|[{MARKS}-]){{0,62}}"
_BEHIND = re.compile(rf"{_LABEL}(?:\.{_LABEL})+(?![^\W_])")
_QUOTES = "'`*/|{}=!#?$%^&~"


def _emails(text: str) -> Iterator[Datum]:
    at = text.find("@")
    while at >= 0:
        # Reversed, the longest run before the @ is a match from the start: nothing is tried twice.
        before = _BEFORE.match(text[max(0, at - _LOCAL - 1) : at][::-1])
        behind = _BEHIND.match(text, at + 1, at + 1 + _DOMAIN)
        if before is not None and behind is not None and len(before.group()) <= _LOCAL:
            local = before.group()[::-1].lstrip(_QUOTES + ".")
            labels = behind.group().rstrip("-").split(".")
            if _is_local(local) and _is_host(labels):
                yield Datum("email", at - len(local), at + 1 + len(".".join(labels)), 1.0)
        at = text.find("@", at + 1)


def _is_local(local: str) -> bool:
    return bool(local) and not local.endswith(".") and ".." not in local


def _is_host(labels: list[str]) -> bool:
    top = labels[-1]
    # Of letters and their marks.
    named = (len(top) >= 2 and not re.search(r"[\d-]", top)) or top.startswith("xn--")
    return named and not any(label.endswith("-") for label in labels)


# --- card numbers ---

_GAP = r"[\s.-]{1,3}"
# Where a number or a group of one begins, but for what stands behind a decimal point.
_GROUP = re.compile(r"(?<![0-9])(?<![0-9]\.)[0-9]{4}")
# How a card number goes on, the likeliest first: what follows one may be its year or its check code.
_CARDS = tuple(
    re.compile(rf"{form}(?![0-9])(?!\.[0-9])")
    for form in (
        r"[0-9]{13,19}",
        rf"[0-9]{{4}}(?:{_GAP}[0-9]{{4}}){{3}}",
        rf"[0-9]{{4}}(?:{_GAP}[0-9]{{4}}){{3}}{_GAP}?[0-9]{{3}}",
        rf"[0-9]{{4}}{_GAP}[0-9]{{6}}{_GAP}[0-9]{{4,5}}",
    )
)
_ISSUED = (
    (re.compile(r"4"), (13, 16, 19)),  # Visa
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile(r"3[47]"), (15,)),  # American Express
    (re.compile(r"6011|64[4-9]|65|62212[6-9]|6221[3-9]|622[2-8]|6229[01]|62292[0-5]"), (16, 17, 18, 19)),
    (re.compile(r"30[0-5]|3095|36|3[89]"), (14, 16, 19)),  # Diners Club
    (re.compile(r"35(?:2[89]|[3-8])"), (16, 17, 18, 19)),  # JCB
    (re.compile(r"62|81"), (16, 17, 18, 19)),  # UnionPay
    (re.compile(r"50|5[6-9]|6[37]"), (13, 14, 15, 16, 17, 18, 19)),  # Maestro
)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of those before it (ISO/IEC 7812-1, annex B)."""
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def _cards(text: str) -> Iterator[Datum]:
    end = 0
    for group in _GROUP.finditer(text):
        if group.start() < end:
            continue
        for match in (form.match(text, group.start()) for form in _CARDS):
            if match is not None and _is_card(re.sub("[^0-9]", "", match.group())):
                end = match.end()
                yield Datum("card_number", *match.span(), 1.0)
                break


def _is_card(digits: str) -> bool:
    issued = any(begins.match(digits) and len(digits) in lengths for begins, lengths in _ISSUED)
    return issued and luhn(digits)


# --- IBAN ---

# The registry of ISO 13616: how long an IBAN of each country is.
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BI": 27,
    "BR": 29, "BY": 28, "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DJ": 27, "DK": 18, "DO": 28,
    "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FK": 18, "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23,
    "GL": 18, "GR": 27, "GT": 28, "HN": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IQ": 23, "IS": 26,
    "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20, "LU": 20, "LV": 21,
    "LY": 25, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MN": 20, "MR": 27, "MT": 31, "MU": 30, "NI": 28,
    "NL": 18, "NO": 15, "OM": 23, "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22,
    "RU": 33, "SA": 24, "SC": 31, "SD": 18, "SE": 24, "SI": 19, "SK": 24, "SM": 27, "SO": 23, "ST": 25,
    "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20, "YE": 30,
}  # fmt: skip

_IBAN = re.compile(r"(?<![A-Za-z0-9])(?=([A-Za-z]{2}[0-9]{2}(?:[ -]?[A-Za-z0-9]){11,29}))")


def mod97(iban: str) -> bool:
    """Whether the two digits behind the country are the check digits (ISO 13616, ISO/IEC 7064)."""
    turned = iban[4:] + iban[:4]
    return int("".join(str(int(char, 36)) for char in turned)) % 97 == 1


def _ibans(text: str) -> Iterator[Datum]:
    for match in _IBAN.finditer(text):
        length = _IBAN_LENGTHS.get(match.group(1)[:2].upper())
        end = None if length is None else _end_of(match.group(1), length)
        if end is None:
            continue
        follows = text[match.start() + end : match.start() + end + 1]
        whole = not (follows.isascii() and follows.isalnum())
        if whole and mod97(re.sub("[ -]", "", match.group(1)[:end])):
            yield Datum("iban", match.start(), match.start() + end, 1.0)


def _end_of(written: str, length: int) -> int | None:
    """Behind which character of `written` there are `length` that are no blanks and no hyphens."""
    seen = 0
    for index, char in enumerate(written):
        seen += char not in " -"
        if seen == length:
            return index + 1
    return None


# --- phone numbers ---

# With what may stand between two digits.
_BETWEEN = r"[ \t./-]{1,2}"
_PHONE = re.compile(
    rf"(?<![0-9A-Za-z+])\(?(?:\+|00(?:{_BETWEEN})?)(?=[1-9(])"
    rf"(?:[0-9()]|{_BETWEEN}(?=[0-9(])){{6,24}}(?<=[0-9])(?![0-9])"
)


def _phones(text: str) -> Iterator[Datum]:
    at = 0
    for _ in range(MOST_PHONES):
        match = _PHONE.search(text, at)
        if match is None:
            return
        start, end = _dialled(text, *match.span())
        if end > start:
            yield Datum("phone", start, end, 0.95)
        at = max(end, match.start() + 2)


def _dialled(text: str, start: int, end: int) -> tuple[int, int]:
    """Where between the two there is a phone number; nowhere if both are the same."""
    start += text[start] == "(" and ")" not in text[start:end]
    # What stands behind a blank may be a number of its own: "+1 650 253 0000 24 hours".
    cuts = [start + match.start() for match in re.finditer(_BETWEEN, text[start:end])][-2:]
    for behind in (end, *reversed(cuts)):
        written = text[start:behind].lstrip("(").replace("\t", " ")
        try:
            number = phonenumbers.parse(f"+{written[2:]}" if written.startswith("00") else written, None)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return start, behind
    return start, start


def _overlaps(datum: Datum, taken: list[tuple[int, int]]) -> bool:
    """Whether `datum` shares a character with one of `taken`, which are in order."""
    at = bisect_left(taken, (datum.end, 0))
    return at > 0 and taken[at - 1][1] > datum.start
