"""
What Kneo's specs do: real work on the input of a run, step by step.

A step is a generator: it yields wherever the run may be interrupted, and returns its result.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

Input = Mapping[str, Any]
Results = dict[str, Any]
Step = Callable[[Input, Results], Generator[None, None, Any]]

# Rounds between two chances to interrupt: under a millisecond of work.
_SLICE = 1_000


class StepError(Exception):
    """A step cannot go on with this input; the run has failed."""


@dataclass(frozen=True, slots=True)
class Spec:
    """
    What a run of it does.

    Attributes:
        id: Such as `spec_text_stats`.
        name: For people.
        description: What it expects and what it brings.
        steps: In their order, by name; each sees the results of those before it.
        admit: Looks at the input before a run is queued and says what the run will cost.
        seal: Whether runs are sealed before they are queued: `input.rounds` rounds of PBKDF2,
            which take their time.
    """

    id: str
    name: str
    description: str
    steps: Mapping[str, Step]
    admit: Callable[[Input], int] = lambda _: 1
    seal: bool = False


def _text_of(given: Input) -> str:
    text = given.get("text", "")
    if not isinstance(text, str):
        raise StepError("input.text is no text")
    return text


def _tokenize(given: Input, results: Results) -> Generator[None, None, list[str]]:
    yield
    return re.findall(r"\w+", _text_of(given).lower())


def _count(given: Input, results: Results) -> Generator[None, None, dict[str, int]]:
    counts: Counter[str] = Counter()
    words: list[str] = results["tokenize"]
    for start in range(0, len(words), _SLICE):
        counts.update(words[start : start + _SLICE])
        yield
    return dict(counts.most_common(10))


def _summarize(given: Input, results: Results) -> Generator[None, None, dict[str, Any]]:
    yield
    words: list[str] = results["tokenize"]
    text = _text_of(given)
    return {
        "characters": len(text),
        "words": len(words),
        "lines": len(text.splitlines()),
        "longest": max(words, key=len, default=None),
    }


def _chunks(given: Input) -> int:
    # Nobody checked the size: a size of 0 is a bug of ours, which a client sees as a 500.
    return len(_text_of(given)) // int(given.get("chunk_size", 100))


def _split(given: Input, results: Results) -> Generator[None, None, list[str]]:
    yield
    size, text = int(given.get("chunk_size", 100)), _text_of(given)
    return [text[at : at + size] for at in range(0, len(text), size)]


def _parse(given: Input, results: Results) -> Generator[None, None, Any]:
    yield
    try:
        return json.loads(_text_of(given))
    except json.JSONDecodeError as exc:
        raise StepError(f"input.text is not JSON: {exc.msg} at character {exc.pos}") from exc


def _shape(given: Input, results: Results) -> Generator[None, None, dict[str, str]]:
    yield
    parsed = results["parse"]
    if not isinstance(parsed, dict):
        raise StepError("input.text is no JSON object")
    return {str(name): type(value).__name__ for name, value in parsed.items()}


def _hash(given: Input, results: Results) -> Generator[None, None, str]:
    digest = _text_of(given).encode()
    for done in range(int(given.get("rounds", 10_000))):
        digest = hashlib.sha256(digest).digest()
        if done % _SLICE == 0:
            yield
    return digest.hex()


SPECS: Mapping[str, Spec] = {
    spec.id: spec
    for spec in (
        Spec(
            "spec_text_stats",
            "Text statistics",
            "Counts the words of input.text.",
            {"tokenize": _tokenize, "count": _count, "summarize": _summarize},
        ),
        Spec(
            "spec_chunks",
            "Chunks",
            "Cuts input.text into pieces of input.chunk_size characters.",
            {"split": _split},
            admit=_chunks,
        ),
        Spec(
            "spec_json_shape",
            "Shape of JSON",
            "Parses input.text as a JSON object and names the types of its members.",
            {"parse": _parse, "shape": _shape},
        ),
        Spec(
            "spec_hash_chain",
            "Hash chain",
            "Hashes input.text input.rounds times over: a run that takes as long as you like.",
            {"hash": _hash},
        ),
        Spec(
            "spec_sealed",
            "Sealed",
            "Seals the input with input.rounds rounds of PBKDF2 before the run is queued, then counts.",
            {"tokenize": _tokenize, "summarize": _summarize},
            seal=True,
        ),
    )
}
