"""
What a campaign finds out: the values its schema asks for, read from what was said in a call.

A transcript is text such as "Budget: 1,200 EUR. Email: ada@example.com. Interested: yes." A
value is what follows the field's name and a colon, "is" or "=", up to the end of the sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

KINDS = ("string", "integer", "number", "boolean", "email", "phone")


def fields_of(schema: Mapping[str, Any]) -> dict[str, str]:
    """
    The fields a schema asks for, name to kind.

    Args:
        schema: `{"budget": "number"}`, `{"budget": {"type": "number"}}`, or a JSON Schema with
            `properties`. A kind that is not known is read as text.
    """
    properties = schema.get("properties")
    members = properties if isinstance(properties, dict) else schema
    return {str(name): _kind(wanted) for name, wanted in members.items()}


def _kind(wanted: Any) -> str:
    kind = wanted.get("format") or wanted.get("type") if isinstance(wanted, dict) else wanted
    return kind if kind in KINDS else "string"


def extract(transcript: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a transcript by field; None where nothing of the kind was said."""
    return {name: _value(transcript, name, kind) for name, kind in fields_of(schema).items()}


def _value(transcript: str, name: str, kind: str) -> Any:
    # The words of the name may be apart in speech: `call_back` is said "call back".
    said_name = r"[\s_-]+".join(map(re.escape, re.split(r"[\s_-]+", name.strip())))
    said = re.search(rf"\b{said_name}\s*(?::|=|\bis\b)\s*([^\n;]*)", transcript, re.IGNORECASE)
    if said is None:
        return None
    return _READERS[kind](said[1].strip())


def _text(said: str) -> str | None:
    # A sentence ends with a full stop and a space, or at the end: "1.5" and "a@b.it" do not.
    text = re.split(r"[.!?](?=\s|$)", said, maxsplit=1)[0].strip(" ,")
    return text or None


def _number(said: str) -> float | None:
    found = re.search(r"-?\d[\d,]*(?:\.\d+)?", said)
    number = None if found is None else float(found[0].replace(",", ""))
    # Too many digits make it infinite, which no integer is, and no JSON.
    return number if number is not None and math.isfinite(number) else None


def _integer(said: str) -> int | None:
    number = _number(said)
    return None if number is None else int(number)


def _boolean(said: str) -> bool | None:
    word = re.match(r"[a-z]+", said.lower())
    return None if word is None else {"yes": True, "true": True, "no": False, "false": False}.get(word[0])


def _email(said: str) -> str | None:
    found = re.search(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", said)
    return None if found is None else found[0]


def _phone(said: str) -> str | None:
    found = re.search(r"\+?\d[\d ()/-]{4,}\d", said)
    return None if found is None else re.sub(r"[ ()/-]", "", found[0])


_READERS: Mapping[str, Callable[[str], Any]] = {
    "string": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "email": _email,
    "phone": _phone,
}
