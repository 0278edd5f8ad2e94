"""
The table of what a service offers: each operation with what the gates need to know of it.

A path that is not in the table is not served, so that no route is open by oversight.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any, TypeAlias

    from failwell.answer import Answer
    from failwell.errors import CallError
    from failwell.failure import Effect
    from failwell.service.credits import Debit
    from failwell.service.exchange import Exchange
    from failwell.service.idempotency import Level

    # What a handler may raise: an exception of the contract, with any code or with one; a code of
    # the service's wording; a status, where a framework's own exception says no more.
    Raised: TypeAlias = type[CallError] | tuple[type[CallError], str] | str | int


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One row of the table.

    Attributes:
        method: In upper case. GET answers HEAD, too.
        path: A template such as `/v1/runs/{run_id}`; a name in braces stands for one segment, or
            for what its convertor says (`{number:int}`, `{rest:path}`).
        endpoint: The handler, for frameworks that take routes from this table.
        scope: What a key must be allowed to do; empty if any key may.
        public: Whether it is served without a key, and without a limit.
        while_draining: Whether it is served while the service shuts down.
        role: The least of the service's roles that may; empty if any may.
        tiers: The tiers that may; empty if all may.
        idempotency: The level at which an `Idempotency-Key` is honoured; None if it is not.
        key_required: Whether a request without an `Idempotency-Key` is refused.
        final: The 4xx statuses that are recorded as the outcome; all others free the key.
        settle: At level `at_most_once`, finds out what became of a request whose worker died:
            an answer, if it was carried out; `Effect.NOT_APPLIED` if it was not, and may be
            now; `Effect.UNKNOWN` if nobody can say yet.
        debits: What each effect costs; refused before the handler if it is not there, spent
            with the effect by `Exchange.commit`, and by nothing else.
        parse: Makes the input of the raw body, before the idempotency look-up; raises
            `RefusedRequest` if it cannot. None leaves the body to the handler.
        streamed: Whether the handler reads the body itself, piece by piece. Of such a body the
            fingerprint knows the announced length, type and `Content-Digest` only.
        max_body_bytes: The largest body taken; None for the service's own limit.
        raises: What the handler may raise: an exception class of the contract, a class with a
            code, a code of the wording, or a status; for the reference and for `check`. What the
            gates refuse goes without saying.
        documented: Whether the OpenAPI document shows it.
        ungated: Whether nothing stands between the limit and the handler of a request without a
            body: no input to parse, no idempotency key, no credits.

    Raises:
        TypeError: of what there may be several of, there is one that is in no list.
    """

    method: str
    path: str
    endpoint: Callable[..., Any] | None = None
    scope: str = ""
    public: bool = False
    while_draining: bool = False
    role: str = ""
    tiers: frozenset[str] = frozenset()
    idempotency: Level | None = None
    key_required: bool = False
    final: frozenset[int] = frozenset()
    settle: Callable[[Exchange], Awaitable[Answer | Effect]] | None = None
    debits: tuple[Debit, ...] = ()
    parse: Callable[[bytes], Any] | None = None
    streamed: bool = False
    max_body_bytes: int | None = None
    raises: tuple[Raised, ...] = ()
    documented: bool = True
    # Worked out once: it is asked with each request.
    ungated: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_several(tiers=self.tiers, final=self.final, debits=self.debits, raises=self.raises)
        asks = self.parse is not None or self.idempotency is not None or self.debits or self.streamed
        object.__setattr__(self, "ungated", not asks)


def check_several(**values: object) -> None:
    """
    Refuse one thing where a list of them is asked for; a text would be taken for its letters.

    Raises:
        TypeError: it is one.
    """
    for name, value in values.items():
        if isinstance(value, (str, type)) or not isinstance(value, Iterable):
            said = value.__name__ if isinstance(value, type) else repr(value)
            raise TypeError(f"`{name}` is a list, also of one: {name}=[{said}]")


class Match(NamedTuple):
    """
    What a path is.

    Attributes:
        operation: The operation; None if there is none.
        values: What stands in the path in place of each name of its template.
        allowed: The methods that the path would take, where there is no operation.
    """

    operation: Operation | None
    values: Mapping[str, str] = MappingProxyType({})
    allowed: tuple[str, ...] = ()


class OperationTable:
    """The operations by path: those without names first, then in the order given."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.operations = tuple(operations)
        self._fixed: dict[str, dict[str, Operation]] = {}
        # Not by path: of two templates for one request, the earlier row is the one.
        self._templates: list[tuple[Callable[[str], re.Match[str] | None], dict[str, Operation]]] = []
        # Which names of a template are whole numbers.
        self._numbers: dict[re.Pattern[str], tuple[str, ...]] = {}
        self._most_digits = sys.get_int_max_str_digits() or sys.maxsize
        last = ""
        for operation in self.operations:
            if "{" not in operation.path:
                by_method = self._fixed.setdefault(operation.path, {})
            else:
                if operation.path != last:
                    pattern = pattern_of(operation.path)
                    self._templates.append((pattern.fullmatch, {}))
                    self._numbers[pattern] = _numbers_in(operation.path)
                last, by_method = operation.path, self._templates[-1][1]
            # Of two rows for one request the earlier is the one, as it is for the framework:
            # else one row's gates would guard the other's handler.
            by_method.setdefault(operation.method, operation)
        for by_method in (*self._fixed.values(), *(methods for _, methods in self._templates)):
            if "GET" in by_method:
                by_method.setdefault("HEAD", by_method["GET"])
        self._matches = {
            (method, path): Match(operation)
            for path, by_method in self._fixed.items()
            for method, operation in by_method.items()
        }

    def match(self, method: str, path: str) -> Match:
        """
        The operation behind a request.

        Returns:
            A match with an operation; with methods only, if the path takes others (405); with
            neither, if there is no such path (404).
        """
        matched = self._matches.get((method, path))
        if matched is not None:
            return matched
        others: list[Iterable[str]] = []
        for fullmatch, by_method in self._templates:
            found = fullmatch(path)
            if found is not None:
                if len(path) > self._most_digits and self._is_endless(found):
                    return Match(None)
                operation = by_method.get(method)
                if operation is not None:
                    return _made(Match, (operation, found.groupdict(), ()))
                others.append(by_method)
        return Match(None, allowed=tuple(sorted({*self._fixed.get(path, ()), *chain(*others)})))

    def _is_endless(self, found: re.Match[str]) -> bool:
        """
        Whether a number in a path has more digits than Python reads: nothing has such a number.

        A framework reads the numbers of each template that fits, before it looks at the method, and
        fails there; so that no later template could be asked.
        """
        return any(len(found[name]) > self._most_digits for name in self._numbers[found.re])


# What a NamedTuple's own constructor does, without the call of a function in Python.
_made = tuple.__new__

# Starlette's convertors: what a name in a template stands for.
CONVERTORS = {
    "str": "[^/]+",
    "path": ".*",
    "int": "[0-9]+",
    "float": r"[0-9]+(?:\.[0-9]+)?",
    "uuid": "[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}",
}

# A name in a template, and its convertor.
NAME_IN_PATH = re.compile(r"\{([a-zA-Z_][a-zA-Z0-9_]*)(?::([a-zA-Z_][a-zA-Z0-9_]*))?\}")


def _numbers_in(template: str) -> tuple[str, ...]:
    return tuple(name[1] for name in NAME_IN_PATH.finditer(template) if name[2] == "int")


def pattern_of(template: str) -> re.Pattern[str]:
    """The paths that a template stands for, with a group for each name."""
    pieces, end = [], 0
    for name in NAME_IN_PATH.finditer(template):
        pieces += [re.escape(template[end : name.start()]), f"(?P<{name[1]}>{CONVERTORS[name[2] or 'str']})"]
        end = name.end()
    return re.compile("".join([*pieces, re.escape(template[end:])]), re.DOTALL)
