"""
What Kneo's specs are made of: real work on the input of a run, step by step.

    {"steps": ["tokenize", "count"], "admission": ["chunks"]}

A step is a generator: it yields wherever the run may be interrupted, and returns its result; the
last one's is the run's output. An admission check looks at the input before the run is queued.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from typing import Any

Input = Mapping[str, Any]
Results = dict[str, Any]
Step = Callable[[Input, Results], Generator[None, None, Any]]

# Rounds between two chances to interrupt: under a millisecond of work.
_SLICE = 1_000


MOST_ROUNDS = 20_000_000


class StepError(Exception):
    """The input is not what a step, or a check, can work with."""


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
    size = given.get("chunk_size", 100)
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise StepError("input.chunk_size is not a number of characters")
    # Nobody thought of a size of 0: that is a bug of ours, which a client sees as a 500.
    return len(_text_of(given)) // size


def _seal(given: Input) -> int:
    """Binds the input to the run with `input.rounds` rounds of PBKDF2: it takes its time."""
    rounds = given.get("rounds", 1)
    if not isinstance(rounds, int) or not 1 <= rounds <= MOST_ROUNDS:
        raise StepError(f"input.rounds is not a number from 1 to {MOST_ROUNDS}")
    hashlib.pbkdf2_hmac("sha256", json.dumps(given, sort_keys=True).encode(), b"kneo", rounds)
    return rounds


def _split(given: Input, results: Results) -> Generator[None, None, list[str]]:
    yield
    size, text = int(given.get("chunk_size", 100)), _text_of(given)
    return [text[at : at + size] for at in range(0, len(text), size)]


def _parse(given: Input, results: Results) -> Generator[None, None, Any]:
    yield
    text = _text_of(given)
    try:
        parsed = json.loads(text)
        # NaN, 1e400 and half a surrogate pair are read, and could never be sent to anybody.
        json.dumps(parsed, allow_nan=False, ensure_ascii=False).encode()
    except json.JSONDecodeError as exc:
        raise StepError(f"input.text is not JSON: {exc.msg} at character {exc.pos}") from exc
    except (ValueError, RecursionError) as exc:
        raise StepError("input.text is JSON that cannot be sent on") from exc
    return parsed


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


STEPS: Mapping[str, Step] = {
    "tokenize": _tokenize,
    "count": _count,
    "summarize": _summarize,
    "split": _split,
    "parse": _parse,
    "shape": _shape,
    "hash": _hash,
}

# A step to those whose results it reads.
NEEDS: Mapping[str, tuple[str, ...]] = {
    "count": ("tokenize",),
    "summarize": ("tokenize",),
    "shape": ("parse",),
}

# Checks of the input; each says what a run will cost.
ADMISSION: Mapping[str, Callable[[Input], int]] = {"chunks": _chunks, "seal": _seal}

# The platform's own specs: id, name, definition.
PLATFORM_SPECS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("spec_text_stats", "text-stats", {"steps": ["tokenize", "count", "summarize"]}),
    ("spec_chunks", "chunks", {"steps": ["split"], "admission": ["chunks"]}),
    ("spec_json_shape", "json-shape", {"steps": ["parse", "shape"]}),
    ("spec_hash_chain", "hash-chain", {"steps": ["hash"]}),
    ("spec_sealed", "sealed", {"steps": ["tokenize", "summarize"], "admission": ["seal"]}),
)


def fault_in(definition: Mapping[str, Any]) -> tuple[tuple[str | int, ...], str] | None:
    """Where a definition is wrong, and why; None if it can be run."""
    steps = definition.get("steps")
    if not isinstance(steps, list) or not steps:
        return ("steps",), "a list of one or more steps is needed"
    for at, step in enumerate(steps):
        if not isinstance(step, str) or step not in STEPS:
            return ("steps", at), f"there is no such step; there are {', '.join(STEPS)}"
        missing = [needed for needed in NEEDS.get(step, ()) if needed not in steps[:at]]
        if missing:
            return ("steps", at), f"{missing[0]!r} has to come before it"
    admission = definition.get("admission", [])
    if not isinstance(admission, list) or not all(isinstance(a, str) and a in ADMISSION for a in admission):
        return ("admission",), f"a list of {', '.join(ADMISSION)}"
    return None
