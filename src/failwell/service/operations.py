"""
The table of what a service offers: each operation with what the gates need to know of it.

A path that is not in the table is not served, so that no route is open by oversight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from typing import Any

    from failwell.answer import Answer
    from failwell.errors import CallError
    from failwell.failure import Effect
    from failwell.service.credits import Debit
    from failwell.service.exchange import Exchange
    from failwell.service.idempotency import Level


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One row of the table.

    Attributes:
        method: In upper case. GET answers HEAD, too.
        path: A template such as `/v1/runs/{run_id}`; a name in braces stands for one segment.
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
            with the effect.
        parse: Makes the input of the raw body, before the idempotency look-up; raises
            `RefusedRequest` if it cannot. None leaves the body to the handler.
        streamed: Whether the handler reads the body itself, piece by piece. Of such a body the
            fingerprint knows the announced length, type and `Content-Digest` only.
        max_body_bytes: The largest body taken; None for the service's own limit.
        raises: The exceptions of the contract that the handler may raise, for the reference and
            for `check`; what the gates refuse goes without saying.
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
    raises: tuple[type[CallError], ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """What a path is: an operation, or the methods that it would take."""

    operation: Operation | None
    allowed: tuple[str, ...] = ()


class OperationTable:
    """The operations by path, templates without names first."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self.operations = tuple(operations)
        self._fixed: dict[str, dict[str, Operation]] = {}
        templates: dict[str, dict[str, Operation]] = {}
        for operation in self.operations:
            at = templates if "{" in operation.path else self._fixed
            by_method = at.setdefault(operation.path, {})
            by_method[operation.method] = operation
            if operation.method == "GET":
                by_method.setdefault("HEAD", operation)
        self._templates = [(_pattern(path), by_method) for path, by_method in templates.items()]

    def match(self, method: str, path: str) -> Match:
        """
        The operation behind a request.

        Returns:
            A match with an operation; with methods only, if the path takes others (405); with
            neither, if there is no such path (404).
        """
        by_method = self._fixed.get(path)
        if by_method is None:
            by_method = next((m for pattern, m in self._templates if pattern.fullmatch(path)), {})
        operation = by_method.get(method)
        if operation is not None:
            return Match(operation)
        return Match(None, tuple(sorted(by_method)))


def _pattern(template: str) -> re.Pattern[str]:
    pieces = re.split(r"(\{[a-z_]+\})", template)
    return re.compile("".join("[^/]+" if p.startswith("{") else re.escape(p) for p in pieces))
