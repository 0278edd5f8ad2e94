"""
Does every operation say what its handler raises? The source is read, and nothing is run.

From each endpoint the reading follows the functions and methods of the same package (of the same
folder, for a module that is in none) that it mentions, of what decorates it and of FastAPI's
dependencies, those of its routers among them, and looks for what can end as an error of the service:

    raise NameTakenError(...)                       an exception of the contract
    raise service.refuse("name_taken")              a code of the wording
    raise service.error(Failure(status=409))        a status, a code
    raise RefusedRequest(Refusal("name_taken"))     a code of the wording
    raise HTTPException(418)                        a status

What is caught on the way is not counted. What cannot be known from the source, such as a class
that is computed, is not found here; `Service.undeclared` has it once it was sent.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import os
import sys
import textwrap
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from failwell.errors import CallError, ConfigurationError, UsageError
from failwell.failure import Failure
from failwell.service.credits import InsufficientCreditsError
from failwell.service.gates import Service
from failwell.service.refusals import Refusal, RefusedRequest, code_of_status, error_of
from failwell.service.routes import dependencies_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from failwell.service.operations import Operation


class UndeclaredError(AssertionError):
    """
    Handlers can raise what their `raises` does not declare.

    Attributes:
        findings: Each of them.
    """

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("\n".join(["raised, but not declared in `raises`:", *map(str, findings)]))
        self.findings = findings


class Finding(NamedTuple):
    """
    Something that can be raised.

    Attributes:
        operation: Method and path.
        raises: The class or status, with the code where the source tells it.
        where: File and line.
    """

    operation: str
    raises: str
    where: str

    def __str__(self) -> str:
        return f"  {self.operation}: {self.raises} ({self.where})"


def check(service_or_app: Any) -> None:
    """
    Hold every operation of a service to its declaration.

    Args:
        service_or_app: A `Service`, or the application that was given to `install`.

    Raises:
        UndeclaredError: a handler can raise what its `raises` does not declare; lists them all.
        ConfigurationError: it is neither.
    """
    service = service_or_app
    if not isinstance(service, Service):
        service = getattr(getattr(service_or_app, "state", None), "failwell", None)
    if not isinstance(service, Service):
        raise ConfigurationError(f"{type(service_or_app).__name__} is not behind the gates: install it first")
    before: dict[tuple[str, str], list[Any]] = {}
    for method, path, dependency in dependencies_in(inspect.unwrap(service.app)):
        before.setdefault((method, path), []).append(dependency)
    findings = dict.fromkeys(
        finding
        for operation in service.table.operations
        for finding in undeclared_in(service, operation, before.get((operation.method, operation.path), ()))
    )
    if findings:
        raise UndeclaredError(tuple(findings))


def undeclared_in(service: Service, operation: Operation, before: Iterable[Any] = ()) -> Iterator[Finding]:
    """What the handler of `operation`, or what is called `before` it, can raise and does not declare."""
    named = f"{operation.method} {operation.path}"
    for start in (*before, operation.endpoint, operation.parse, operation.settle):
        for raised in _raised_by(start):
            what = _what(service, raised)
            if what is None or _is_declared(service, operation, raised, *what):
                continue
            said = raised.cls.__name__ if raised.cls is not None else str(raised.status or "")
            if raised.code:
                said = f"{said} {raised.code!r}".strip()
            yield Finding(named, said, raised.where)


class _Raised(NamedTuple):
    """
    What the source raises.

    Attributes:
        where: File and line.
        kind: The Python class, for what catches it; None if it is not told.
        cls: An exception of some contract; None where only status and code are said.
        status: The status, where it is told.
        code: The code, where it is told.
        word: Whether the code is one of the wording.
        untold: Whether there is a code that the source does not tell.
    """

    where: str
    kind: type[BaseException] | None = None
    cls: type[CallError] | None = None
    status: int | None = None
    code: str | None = None
    word: bool = False
    untold: bool = False


def _what(service: Service, raised: _Raised) -> tuple[CallError, int] | None:
    """The error that a client would get, and its status; None for what is a bug, and a 500."""
    if raised.cls is not None:
        if not issubclass(raised.cls, service.contract.base):
            return None
        error = raised.cls.from_failure(Failure(status=raised.status, code=raised.code))
        try:
            return error, service.contract.encode(error).status
        except UsageError:
            return None
    if raised.word:
        words = service.wording.get(raised.code or "")
        code = service.codes.get(raised.code or "", raised.code)
        status = raised.status or (words[0] if words else 500)
        return error_of(service.contract, Failure(status=status, code=code)), status
    status = raised.status or 500
    return error_of(service.contract, Failure(status=status, code=raised.code)), status


def _is_declared(
    service: Service, operation: Operation, raised: _Raised, error: CallError, status: int
) -> bool:
    for row in service.declarations.of(operation):
        if row.covers(error, status):
            return True
        # A code that the source does not tell may well be the declared one.
        wanted = row.raises or type(row.example)
        if raised.untold and not row.implied and row.status == status and isinstance(error, wanted):
            return True
    return False


# --- reading ---


def _raised_by(start: Any) -> list[_Raised]:
    """What can be raised by a function, and by those of its package that it mentions."""
    found: list[_Raised] = []
    seen: set[Any] = set()
    left: list[_Mention] = [(start, ())]
    packages = {_package(_innermost(start))} - {""}
    while left:
        thing, caught = left.pop()
        function, owner = _opened(thing)
        if function is None:
            continue
        wrapped = getattr(function, "__wrapped__", None)
        if _package(function) not in packages:
            left += [] if wrapped is None else [(wrapped, caught)]  # somebody else's decorator
            continue
        place = (function.__code__, owner if inspect.isclass(owner) else type(owner), caught)
        if place in seen:
            continue
        seen.add(place)
        reader = _Reader(function, owner)
        found += [raised for raised in reader.raised() if not _is_caught(raised, caught)]
        left += [(mention, caught + inner) for mention, inner in reader.mentioned]
        if wrapped is not None and all(mention is not wrapped for mention, _ in reader.mentioned):
            left.append((wrapped, caught))
        for dependency in _dependencies(function):
            packages.add(_package(dependency))
            left.append((dependency, caught))
        packages.discard("")
    return found


def _opened(thing: Any) -> tuple[types.FunctionType | None, Any]:
    """The function in `thing`, and what its first argument is bound to."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    owner = getattr(thing, "__self__", None)
    if not isinstance(thing, (types.FunctionType, types.MethodType)) and callable(thing):
        call = getattr(type(thing), "__call__", None)  # noqa: B004  # an object that is called like a function
        if isinstance(call, types.FunctionType):
            return call, thing
        wrapped = getattr(thing, "__wrapped__", None)  # as `functools.cache` has it
        return (None, None) if wrapped is None else _opened(wrapped)
    function = getattr(thing, "__func__", thing)
    return (function, owner) if isinstance(function, types.FunctionType) else (None, None)


def _innermost(thing: Any) -> Any:
    """What the decorators of `thing` stand around."""
    function, _ = _opened(thing)
    return thing if function is None else inspect.unwrap(function)


def _package(thing: Any) -> str:
    """What `thing` is part of: its package, or the folder of a module without one; empty for none."""
    function, _ = _opened(thing)
    # Where it is written: `functools.wraps` gives a wrapper the module of what it wraps.
    module = "" if function is None else function.__globals__.get("__name__") or ""
    top = module.partition(".")[0]
    if function is None or top == "failwell":
        # Of our own there is nothing to declare: what it raises, the gates imply.
        return ""
    if top != module or hasattr(sys.modules.get(top), "__path__"):
        return top
    return os.path.dirname(function.__code__.co_filename)


def _dependencies(function: types.FunctionType) -> Iterator[Any]:
    """What FastAPI calls before an endpoint: `Depends(...)`, as a default or an annotation."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters.values()
    except (NameError, TypeError, ValueError, AttributeError, SyntaxError):
        parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        for said in (parameter.default, *getattr(parameter.annotation, "__metadata__", ())):
            dependency = getattr(said, "dependency", None)
            if callable(dependency):
                yield dependency


_UNKNOWN = object()

if TYPE_CHECKING:
    _Kinds = tuple[type[BaseException], ...]
    # A function that may be called, and what is caught of it.
    _Mention = tuple[Any, _Kinds]


class _Reader(ast.NodeVisitor):
    """One function being read."""

    def __init__(self, function: types.FunctionType, owner: Any) -> None:
        self.function = function
        self.mentioned: list[_Mention] = []
        self._caught: _Kinds = ()
        self._found: list[_Raised] = []
        self._names: dict[str, Any] = {**function.__globals__}
        self._names.update(_closure(function))
        self._assigned: dict[str, list[ast.expr]] = {}
        self._tree: ast.AST | None = None
        self._first_line = 0
        try:
            # Of a function, it would be the source of what it wraps.
            lines, first = inspect.getsourcelines(function.__code__)
            self._tree = _definition(textwrap.dedent("".join(lines)), function.__code__.co_name)
        except (OSError, TypeError, SyntaxError):
            return
        self._first_line = first - 1
        if isinstance(self._tree, (ast.FunctionDef, ast.AsyncFunctionDef)):
            arguments = self._tree.args
            every = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
            for argument in every:
                self._names[argument.arg] = _UNKNOWN
            if every and (owner is not None or every[0].arg == "self"):
                self._names[every[0].arg] = _class_of(function) if owner is None else owner

    def raised(self) -> list[_Raised]:
        """What it raises, without what it catches; fills `mentioned`."""
        if self._tree is None:
            return []
        for node in ast.walk(self._tree):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self._assigned.setdefault(name, []).append(value)
                case ast.NamedExpr(target=ast.Name(id=name), value=value):
                    self._assigned.setdefault(name, []).append(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self._assigned.setdefault(name, []).append(value)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if node is not self._tree:
                    self._names[name] = _UNKNOWN  # read where it stands
        for name in self._assigned:
            self._names[name] = _UNKNOWN
        body: Iterable[ast.AST] = getattr(self._tree, "body", ())
        for node in body if not isinstance(body, ast.AST) else (body,):
            self.visit(node)
        return self._found

    # --- statements ---

    def visit_Raise(self, node: ast.Raise) -> None:
        """Something ends here."""
        if node.exc is not None:
            self._end(node.exc)
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        """A helper that makes an exception for its caller to raise."""
        if node.value is not None and self._is_error_call(node.value):
            self._end(node.value)
        self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        """What is caught and not raised again does not come out."""
        caught = [k for h in node.handlers if not _raises_again(h) for k in self._kinds(h.type)]
        self._read_within(node.body, caught)
        for part in (*node.handlers, *node.orelse, *node.finalbody):
            self.visit(part)

    def visit_With(self, node: ast.With) -> None:
        """`suppress` catches, too."""
        caught = []
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and getattr(self._value(call.func), "__name__", "") == "suppress":
                caught += [kind for argument in call.args for kind in self._kinds(argument)]
            self.visit(item)
        self._read_within(node.body, caught)

    def _read_within(self, body: list[ast.stmt], caught: list[Any]) -> None:
        outer, self._caught = self._caught, (*self._caught, *caught)
        for statement in body:
            self.visit(statement)
        self._caught = outer

    # --- what is mentioned ---

    def visit_Name(self, node: ast.Name) -> None:
        """A function that may be called."""
        if isinstance(node.ctx, ast.Load):
            self._mention(self._value(node))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """A method that may be called."""
        if isinstance(node.ctx, ast.Load):
            self._mention(self._value(node))
        self.generic_visit(node)

    def _mention(self, value: Any) -> None:
        if isinstance(value, (types.FunctionType, types.MethodType, functools.partial)):
            self.mentioned.append((value, self._caught))

    # --- what is raised ---

    def _end(self, expression: ast.expr, depth: int = 0) -> None:
        match expression:
            case ast.Name(id=name) if name in self._assigned and depth < 5:
                for value in self._assigned[name]:
                    self._end(value, depth + 1)
            case ast.IfExp(body=body, orelse=orelse):
                self._end(body, depth)
                self._end(orelse, depth)
            case ast.Call():
                raised = self._called(expression)
                self._add(raised)
            case _:
                cls = self._value(expression)
                if inspect.isclass(cls) and issubclass(cls, BaseException):
                    self._add(self._of_class(cls, None, expression))

    def _add(self, raised: _Raised | None) -> None:
        if raised is not None and not _is_caught(raised, self._caught):
            self._found.append(raised)

    def _is_error_call(self, expression: ast.expr) -> bool:
        return isinstance(expression, ast.Call) and self._called(expression) is not None

    def _called(self, call: ast.Call) -> _Raised | None:
        """The exception that a call makes; None if it makes none that we know of."""
        made = self._value(call.func)
        if inspect.isclass(made) and issubclass(made, BaseException):
            return self._of_class(made, call, call)
        if not isinstance(call.func, ast.Attribute):
            return None
        if call.func.attr == "from_failure":
            cls = self._value(call.func.value)
            if inspect.isclass(cls) and issubclass(cls, BaseException):
                return self._of_class(cls, call, call)
        if call.func.attr == "refuse" and call.args and isinstance(self._constant(call.args[0]), str):
            return _Raised(self._where(call), code=self._constant(call.args[0]), word=True)
        if call.func.attr == "error" and call.args and self._makes(call.args[0], Failure):
            facts = self._facts(call.args[0])
            return _Raised(self._where(call), **facts, untold=_has_untold_code(call.args[0], facts))
        return None

    def _of_class(self, cls: Any, call: ast.Call | None, at: ast.expr) -> _Raised | None:
        where = self._where(at)
        if issubclass(cls, CallError):
            facts = self._failure_facts(call)
            return _Raised(where, cls, cls, **facts, untold="code" not in facts)
        if issubclass(cls, RefusedRequest):
            facts = self._facts(call.args[0]) if call is not None and call.args else {}
            return _Raised(where, cls, **facts, word=True) if "code" in facts else None
        if issubclass(cls, InsufficientCreditsError):
            return _Raised(where, cls, code="insufficient_credits", word=True)
        if any(base.__name__ == "HTTPException" for base in cls.__mro__):
            given = [] if call is None else [*call.args[:1], *_keywords(call, "status_code")]
            status = self._constant(given[0]) if given else None
            if isinstance(status, int):
                return _Raised(where, cls, status=int(status), code=code_of_status(int(status)))
        return None

    def _failure_facts(self, call: ast.Call | None) -> dict[str, Any]:
        """The status and the code that an exception is made with, where the source tells them."""
        if call is None:
            return {}
        own = self._facts(call)
        for argument in (*call.args, *_keywords(call, "failure")):
            if self._makes(argument, Failure):
                own |= self._facts(argument)
        return own

    def _facts(self, expression: ast.expr) -> dict[str, Any]:
        """The status and the code that a call in the source is given."""
        if not isinstance(expression, ast.Call):
            return {}
        facts = {k.arg: self._constant(k.value) for k in expression.keywords if k.arg in ("status", "code")}
        if expression.args and self._makes(expression, Refusal):
            facts["code"] = self._constant(expression.args[0])
        return {str(name): value for name, value in facts.items() if isinstance(value, (str, int))}

    def _makes(self, expression: ast.expr, cls: type) -> bool:
        return isinstance(expression, ast.Call) and self._value(expression.func) is cls

    def _kinds(self, expression: ast.expr | None) -> list[Any]:
        """The classes that an `except` names; everything, if it names none."""
        if expression is None:
            return [BaseException]
        parts = expression.elts if isinstance(expression, ast.Tuple) else [expression]
        values = [self._value(part) for part in parts]
        flat = [v for value in values for v in (value if isinstance(value, tuple) else (value,))]
        return [value for value in flat if inspect.isclass(value)]

    # --- values ---

    def _constant(self, expression: ast.expr) -> Any:
        value = self._value(expression)
        return value if isinstance(value, (str, int)) else None

    def _value(self, expression: ast.expr) -> Any:
        """What an expression is, as far as names and attributes tell; nothing of it is run."""
        match expression:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._names.get(name, getattr(builtins, name, _UNKNOWN))
            case ast.Attribute(value=inner, attr=attr):
                base = self._value(inner)
                value = _UNKNOWN if base is _UNKNOWN else _attribute(base, attr)
                if not isinstance(value, property):
                    return value
                if value.fget is not None:
                    self._mention(types.MethodType(value.fget, base))
        return _UNKNOWN

    def _where(self, node: ast.expr) -> str:
        file = inspect.getsourcefile(self.function) or "?"
        return f"{file}:{self._first_line + node.lineno}"


def _attribute(base: Any, name: str) -> Any:
    if isinstance(base, types.ModuleType):
        return getattr(base, name, _UNKNOWN)  # some load their names on first use
    try:
        found = inspect.getattr_static(base, name)
    except AttributeError:
        return _UNKNOWN
    if isinstance(found, staticmethod):
        return found.__func__
    if isinstance(found, classmethod):
        return types.MethodType(found.__func__, base if inspect.isclass(base) else type(base))
    if isinstance(found, types.FunctionType) and not inspect.isclass(base):
        return types.MethodType(found, base)
    if isinstance(found, types.MemberDescriptorType):
        return getattr(base, name, _UNKNOWN)
    return found


def _closure(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not set yet
            continue


def _definition(source: str, name: str) -> ast.AST | None:
    """The definition of a function, or a lambda in a longer expression."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            return node
        if isinstance(node, ast.Lambda) and name == "<lambda>":
            return node
    return None


def _keywords(call: ast.Call, name: str) -> list[ast.expr]:
    return [keyword.value for keyword in call.keywords if keyword.arg == name]


def _raises_again(handler: ast.ExceptHandler) -> bool:
    return any(
        isinstance(node, ast.Raise)
        and (node.exc is None or (isinstance(node.exc, ast.Name) and node.exc.id == handler.name))
        for statement in handler.body
        for node in ast.walk(statement)
    )


def _is_caught(raised: _Raised, kinds: _Kinds) -> bool:
    if raised.kind is None:
        return any(kind in (BaseException, Exception) for kind in kinds)
    return issubclass(raised.kind, kinds)


def _has_untold_code(expression: ast.expr, facts: Mapping[str, Any]) -> bool:
    given = isinstance(expression, ast.Call) and bool(_keywords(expression, "code"))
    return given and "code" not in facts


def _class_of(function: types.FunctionType) -> Any:
    """The class that a method was defined in, by its name."""
    value: Any = _UNKNOWN
    for number, name in enumerate(function.__qualname__.split(".")[:-1]):
        value = vars(value).get(name, _UNKNOWN) if number else function.__globals__.get(name, _UNKNOWN)
        if not inspect.isclass(value):
            return _UNKNOWN
    return value
