"""
Answers made of what stands in an account's files, word for word, each quote with where it stands.

An answer is a list of parts, as it is streamed: texts, one word each, and citations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from failwell_sandbox.scopix.search import Hit

# Passages in an answer.
MOST_QUOTES = 5

# Of a question, repeated in an answer.
MOST_REPEATED = 200

_WORD = re.compile(r"\s*\S+\s*|\s+")

Parts = list[str | dict[str, Any]]


def answer_to(question: str, hits: Sequence[Hit], names: Mapping[str, str]) -> Parts:
    """
    The answer that some passages are.

    Args:
        question: What was asked.
        hits: What was found, the best first.
        names: Of the files it stands in.
    """
    if not hits:
        asked = " ".join(question.split())
        asked = asked if len(asked) <= MOST_REPEATED else f"{asked[:MOST_REPEATED]}…"
        return list(_words(f"Nothing in your files matches “{asked}”."))
    count = (
        f"{len(hits)} passages in your files match."
        if len(hits) > 1
        else "One passage in your files matches."
    )
    parts: Parts = [*_words(count)]
    for hit in hits:
        name, passage = names[hit.file_id], hit.passage
        where = name if passage.page is None else f"{name}, page {passage.page}"
        parts += _words(f"\n\n“{passage.text}” ({where})")
        parts.append(
            {
                "file_id": hit.file_id, "name": name, "page": passage.page, "start": passage.start,
                "end": passage.start + len(passage.text), "quote": passage.text,
            }
        )  # fmt: skip
    return parts


def text_of(parts: Iterable[str | Mapping[str, Any]]) -> str:
    """The text of an answer."""
    return "".join(part for part in parts if isinstance(part, str))


def _words(text: str) -> Iterator[str]:
    yield from _WORD.findall(text)
