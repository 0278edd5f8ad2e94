"""
The table of what a service offers: each operation with what the gates need to know of it.

A path that is not in the table is not served, so that no route is open by oversight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


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
        idempotent: Whether an `Idempotency-Key` is honoured.
        final: The 4xx statuses that are recorded as the outcome; all others free the key.
        parse: Makes the input of the raw body, before the idempotency look-up; raises
            `RefusedRequest` if it cannot. None leaves the body to the handler.
        max_body_bytes: The largest body taken; None for the service's own limit.
    """

    method: str
    path: str
    endpoint: Callable[..., Any] | None = None
    scope: str = ""
    public: bool = False
    while_draining: bool = False
    idempotent: bool = False
    final: frozenset[int] = frozenset()
    parse: Callable[[bytes], Any] | None = None
    max_body_bytes: int | None = None


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
