"""
JSON that is not quite JSON: cut by a log or a proxy, printed with a comma too many or too few.

Reads what can be read and closes what was left open. One pass, no recursion.
"""

from __future__ import annotations

import re
from json import JSONDecodeError, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<mark>[{}\[\]:,])
      | "(?P<text>(?:[^"\\]|\\.)*)(?P<close>"?)
      | (?P<word>[^\s{}\[\]:,"]+)
    )""",
    re.VERBOSE | re.DOTALL,
)
_DEPTH_LIMIT = 64
_WORDS = {"true": True, "false": False, "null": None}


def loose_json(text: str) -> Any:
    """
    The value that `text` begins with, as far as it goes; None if it begins with none.

    Commas may be missing or too many, strings may hold line ends, and the end may be missing:
    a string that was cut is kept as far as it goes, what was open is closed.
    """
    root: Any = None
    open_values: list[Any] = []
    key: str | None = None  # of the object that is open, once its value is awaited
    position, length = 0, len(text)
    while position < length:
        match = _TOKEN.match(text, position)
        if match is None or match.end() == position:
            break
        position = match.end()
        mark = match["mark"]
        if mark == ":" or mark == ",":
            continue
        if mark == "}" or mark == "]":
            if open_values:
                open_values.pop()
            key = None
            if not open_values:
                break
            continue
        value: Any = [] if mark == "[" else {} if mark == "{" else _scalar(match)
        parent = open_values[-1] if open_values else None
        if parent is None:
            root = value
        elif isinstance(parent, list):
            parent.append(value)
        elif key is None and mark is None:
            key = str(value)
            continue
        else:
            parent[key or ""] = value
            key = None
        if mark is not None:
            if len(open_values) >= _DEPTH_LIMIT:
                break
            open_values.append(value)
        elif parent is None:
            break
    return root


def _scalar(match: re.Match[str]) -> Any:
    text = match["text"]
    return _word(match["word"]) if text is None else _string(text)


def _string(raw: str) -> str:
    if "\\" not in raw and raw.isprintable():
        return raw
    raw = raw.replace("\r", "").replace("\n", "\\n").replace("\t", "\\t")
    try:
        value = loads(f'"{raw}"', strict=False)
    except (JSONDecodeError, ValueError):
        return raw
    return str(value)


def _word(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    try:
        return int(word) if len(word) < 20 else word
    except ValueError:
        return word
