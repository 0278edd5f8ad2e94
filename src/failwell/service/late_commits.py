"""
FastAPI's dependencies that commit after the answer has left.

What stands behind the `yield` of a dependency runs once the answer was sent, unless it is
`Depends(..., scope="function")`. A commit there may fail after the client was told that all is
done; the gates hold an answer back for it only where the request has an idempotency key.

The source is read, and nothing is run. A commit is a call of a method `commit` behind a `yield`,
or the end of a `with` around it that begins a transaction. What is raised there, but for what was
caught, nobody is told either.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

from failwell.contract import SAFE_METHODS
from failwell.service.routes import dependants_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from failwell.service.gates import Service
    from failwell.service.operations import Operation

# Methods whose result commits as a `with` around something ends: SQLAlchemy's, those of psycopg and
# asyncpg, Django's and peewee's.
_TRANSACTIONS = frozenset({"begin", "begin_nested", "transaction", "atomic"})


class LateCommit(NamedTuple):
    """
    A commit that nobody waits for.

    Attributes:
        operation: Method and path.
        dependency: The name of what commits.
        where: File and line of the commit.
    """

    operation: str
    dependency: str
    where: str

    def __str__(self) -> str:
        return f"  {self.operation}: {self.dependency} ({self.where})"


class LateCommitError(AssertionError):
    """
    Dependencies commit after the answer has left.

    Attributes:
        findings: Each of them.
    """

    def __init__(self, findings: tuple[LateCommit, ...]) -> None:
        said = (
            "committed after the answer, which may have said that it is done: write "
            'Depends(..., scope="function"), or commit with `exchange.commit`'
        )
        super().__init__("\n".join([f"{said}:", *map(str, findings)]))
        self.findings = findings


def late_commits(service: Service) -> Iterator[LateCommit]:
    """The commits that come too late, of the operations that may change something."""
    rows = {(row.method, row.path): row for row in service.table.operations if _may_leave_early(row)}
    for method, path, dependant in dependants_in(inspect.unwrap(service.app)):
        if (method, path) not in rows or getattr(dependant, "scope", None) == "function":
            continue
        where = _late_commit(dependant.call)
        if where is not None:
            yield LateCommit(f"{method} {path}", getattr(dependant.call, "__qualname__", "?"), where)


def _may_leave_early(operation: Operation) -> bool:
    return operation.method not in SAFE_METHODS and not operation.key_required


def _late_commit(call: Any) -> str | None:
    """File and line of what commits behind the `yield` of `call`; None if nothing does."""
    function = inspect.unwrap(call) if inspect.isroutine(call) else getattr(type(call), "__call__", None)  # noqa: B004  # called like a function
    if not (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        return None
    try:
        lines, first = inspect.getsourcelines(function)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return None
    handled = {id(node) for handler in ast.walk(tree) for node in _handled_in(handler)}
    for node in ast.walk(tree):
        if id(node) not in handled and _commits(node, _first_yield(tree), function.__globals__):
            return f"{inspect.getsourcefile(function)}:{first - 1 + getattr(node, 'lineno', 1)}"
    return None


def _first_yield(tree: ast.AST) -> int:
    return min(node.lineno for node in ast.walk(tree) if isinstance(node, (ast.Yield, ast.YieldFrom)))


def _handled_in(node: ast.AST) -> Iterator[ast.AST]:
    """What stands in an `except`: it runs because the endpoint failed, whose answer says so."""
    if isinstance(node, ast.ExceptHandler):
        yield from ast.walk(node)


def _commits(node: ast.AST, yields: int, names: dict[str, Any]) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="commit"), lineno=line):
            return line > yields
        case ast.Raise(lineno=line):
            return line > yields
        case (
            ast.With(items=items, lineno=line, end_lineno=end)
            | ast.AsyncWith(items=items, lineno=line, end_lineno=end)
        ):
            around = line <= yields <= (end or line)
            return around and any(_is_transaction(item.context_expr, names) for item in items)
    return False


def _is_transaction(expression: ast.expr, names: dict[str, Any]) -> bool:
    match expression:
        case ast.Call(func=ast.Attribute(attr=attr)):
            return attr in _TRANSACTIONS
        case ast.Call(func=ast.Name(id=name)):
            # A context manager of the service's own.
            return _late_commit(names[name]) is not None if callable(names.get(name)) else False
    return False
