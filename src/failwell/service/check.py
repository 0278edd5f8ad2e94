"""
Does every operation say what its handler raises? The source is read, and nothing is run.

From each endpoint the reading follows the functions and methods of the same package (of the same
folder, for a module that is in none) that it mentions, the classes that it makes objects of, what
decorates it and FastAPI's dependencies, those of its routers among them, and looks for what can end
as an error of the service:

    raise NameTakenError(...)                       an exception of the contract
    raise service.refuse("name_taken")              a code of the wording
    raise service.error(Failure(status=409))        a status, a code
    raise RefusedRequest(Refusal("name_taken"))     a code of the wording
    raise HTTPException(418)                        a status
    await exchange.commit(effect, Debit(5))         what a debit is refused with

What is caught on the way is not counted. What cannot be known from the source, such as a class
that is computed, is not found here; `Service.undeclared` has it once it was sent.
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import itertools
import os
import sys
import textwrap
import types
from typing import TYPE_CHECKING, Any, NamedTuple

from failwell.errors import CallError, ConfigurationError, UsageError
from failwell.failure import Failure
from failwell.service.credits import Debit, InsufficientCreditsError
from failwell.service.gates import Service
from failwell.service.late_commits import LateCommitError, late_commits
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
        LateCommitError: nothing is undeclared, but a dependency of FastAPI's commits after the answer
            has left; lists them all.
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
    late = dict.fromkeys(late_commits(service))
    if late:
        raise LateCommitError(tuple(late))


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
    rows = service.declarations.of(operation)
    if raised.kind is InsufficientCreditsError and any(row.word in _UNPAID for row in rows):
        return True  # whether its account is bought or an allowance, the source does not tell
    for row in rows:
        if row.covers(error, status):
            return True
        # A code that the source does not tell may well be the declared one.
        wanted = row.raises or type(row.example)
        if raised.untold and not row.implied and row.status == status and isinstance(error, wanted):
            return True
    return False


_UNPAID = frozenset({"insufficient_credits", "quota_exceeded"})


# --- reading ---


def _raised_by(start: Any) -> list[_Raised]:
    """What can be raised by a function, and by those of its package that it mentions."""
    found: list[_Raised] = []
    seen: set[Any] = set()
    starts = _called_by_making(start) if inspect.isclass(start) else [start]
    left: list[_Mention] = [(each, ()) for each in starts]
    packages = {_package(_innermost(each)) for each in starts} - {""}
    while left:
        thing, caught = left.pop()
        if inspect.isclass(thing):
            left += [(part, caught) for part in _called_by_making(thing)]
            continue
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
            parts = _called_by_making(dependency) if inspect.isclass(dependency) else [dependency]
            packages.update(map(_package, parts))
            left += [(part, caught) for part in parts]
        packages.discard("")
    return found


def _called_by_making(cls: type) -> list[Any]:
    """The functions that are called when an object of `cls` is made."""
    found = [inspect.getattr_static(cls, name, None) for name in ("__new__", "__init__", "__post_init__")]
    functions = [each.__func__ if isinstance(each, staticmethod) else each for each in found]
    return [types.MethodType(each, cls) for each in functions if isinstance(each, types.FunctionType)]


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
        annotation = parameter.annotation
        for said in (parameter.default, *getattr(annotation, "__metadata__", ())):
            if not hasattr(said, "dependency"):
                continue
            # `a: Auth = Depends()` calls what the parameter is annotated with.
            dependency = said.dependency or getattr(annotation, "__origin__", annotation)
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
        # What its parameters may be, of those of which it is known.
        self.arguments: dict[str, list[Any]] = {}
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
                case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                    for each, value in zip(names, values, strict=False):  # unequal, it would not run
                        if isinstance(each, ast.Name):
                            self._assigned.setdefault(each.id, []).append(value)
                case ast.NamedExpr(target=ast.Name(id=name), value=value):
                    self._assigned.setdefault(name, []).append(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self._assigned.setdefault(name, []).append(value)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if node is not self._tree:
                    self._names[name] = _UNKNOWN  # read where it stands
        for name in self._assigned:
            self._names[name] = _UNKNOWN
        for name in self._assigned.keys() & _stored_once(self._tree):
            self._names[name] = self._value(self._assigned[name][0])
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
        self._enter(node, "__enter__", "__exit__")
        for item in node.items:
            call = item.context_expr
            if isinstance(call, ast.Call) and getattr(self._value(call.func), "__name__", "") == "suppress":
                caught += [kind for argument in call.args for kind in self._kinds(argument)]
            self.visit(item)
        self._read_within(node.body, caught)

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        """What is entered is called."""
        self._enter(node, "__aenter__", "__aexit__")
        self.generic_visit(node)

    def _enter(self, node: ast.With | ast.AsyncWith, *methods: str) -> None:
        for item in node.items:
            manager = self._value(item.context_expr)
            for name in methods:
                self._mention(_UNKNOWN if manager is _UNKNOWN else _attribute(manager, name))

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

    def visit_Call(self, node: ast.Call) -> None:
        """An object that is made; what an effect costs is refused where it is not there."""
        made = self._value(node.func)
        if made is Debit:
            amount = [*node.args[:1], *_keywords(node, "amount")]
            gives_back = amount and isinstance(amount[0], ast.UnaryOp)
            if not gives_back:
                self._add(self._of_class(InsufficientCreditsError, node, node))
        elif inspect.isclass(made) and not issubclass(made, BaseException):
            self.mentioned.append((made, self._caught))
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
            case ast.BoolOp(values=values):
                for value in values:
                    self._end(value, depth)
            case ast.Call():
                self._add(self._called(expression))
            case _:
                value = self._value(expression)
                if inspect.isclass(value) and issubclass(value, BaseException):
                    self._add(self._of_class(value, None, expression))
                elif isinstance(value, BaseException):
                    self._add(self._of_object(value, expression))

    def _add(self, raised: list[_Raised]) -> None:
        self._found += [each for each in raised if not _is_caught(each, self._caught)]

    def _is_error_call(self, expression: ast.expr) -> bool:
        return isinstance(expression, ast.Call) and bool(self._called(expression))

    def _called(self, call: ast.Call) -> list[_Raised]:
        """The exceptions that a call may make; none if it makes none that we know of."""
        made = self._value(call.func)
        if inspect.isclass(made) and issubclass(made, BaseException):
            return self._of_class(made, call, call)
        if not isinstance(call.func, ast.Attribute):
            return []
        if call.func.attr == "from_failure":
            cls = self._value(call.func.value)
            if inspect.isclass(cls) and issubclass(cls, BaseException):
                return self._of_class(cls, call, call)
        if call.func.attr == "refuse" and call.args and isinstance(self._constant(call.args[0]), str):
            return [_Raised(self._where(call), code=self._constant(call.args[0]), word=True)]
        if call.func.attr == "error" and call.args and self._makes(call.args[0], Failure):
            facts = self._facts(call.args[0])
            return [_Raised(self._where(call), **facts, untold=_has_untold_code(call.args[0], facts))]
        return []

    def _of_class(self, cls: Any, call: ast.Call | None, at: ast.expr) -> list[_Raised]:
        where = self._where(at)
        if issubclass(cls, CallError):
            facts = self._failure_facts(call)
            return [_Raised(where, cls, cls, **facts, untold="code" not in facts)]
        if issubclass(cls, RefusedRequest):
            facts = self._facts(call.args[0]) if call is not None and call.args else {}
            return [_Raised(where, cls, **facts, word=True)] if "code" in facts else []
        if issubclass(cls, InsufficientCreditsError):
            return [_Raised(where, cls, code="insufficient_credits", word=True)]
        if any(base.__name__ == "HTTPException" for base in cls.__mro__):
            statuses = self._statuses(cls, call)
            return [_Raised(where, cls, status=status, code=code_of_status(status)) for status in statuses]
        return []

    def _of_object(self, made: Any, at: ast.expr) -> list[_Raised]:
        """An exception that was made when the module was."""
        where, cls = self._where(at), type(made)
        if isinstance(made, CallError):
            return [_Raised(where, cls, cls, made.failure.status, made.failure.code)]
        if isinstance(made, RefusedRequest):
            return [_Raised(where, cls, code=made.refusal.code, status=made.refusal.status, word=True)]
        status = getattr(made, "status_code", None)
        return [_Raised(where, cls, status=status, code=code_of_status(status))] if status else []

    def _statuses(self, cls: type, call: ast.Call | None) -> list[int]:
        """
        The statuses that an `HTTPException` may be made with, as far as the source tells.

        Args:
            cls: Its class, which may say them itself: `super().__init__(418)`.
            call: What makes it; None for `raise` without a call.
        """
        init = inspect.getattr_static(cls, "__init__", None)
        if not isinstance(init, types.FunctionType):
            return []
        if init.__module__.partition(".")[0] in ("starlette", "fastapi"):
            given = None if call is None else _given(call, "status_code", 0)
            return [] if given is None else [s for s in self._constants(given) if isinstance(s, int)]
        inner = _Reader(init, cls)
        inner.raised()
        upwards = inner.init_of_base()
        if upwards is None:
            return []
        inner.arguments = _arguments(init, call, self)
        return inner._statuses(_next_init(cls, init), upwards)

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

    def _constants(self, expression: ast.expr, depth: int = 0) -> list[Any]:
        """All constants that an expression may be; what else it may be is left out."""
        match expression:
            case ast.Name(id=name) if name in self.arguments:
                return self.arguments[name]
            case ast.Name(id=name) if name in self._assigned and depth < 5:
                return [c for value in self._assigned[name] for c in self._constants(value, depth + 1)]
            case ast.IfExp(body=body, orelse=orelse):
                return [*self._constants(body, depth), *self._constants(orelse, depth)]
            case ast.BoolOp(values=values):
                return [c for value in values for c in self._constants(value, depth)]
        value = self._constant(expression)
        return [] if value is None else [value]

    def init_of_base(self) -> ast.Call | None:
        """The call of the base's `__init__` within one; None if there is none."""
        for node in ast.walk(self._tree) if self._tree is not None else ():
            match node:
                case ast.Call(func=ast.Attribute(attr="__init__", value=ast.Call(func=ast.Name(id="super")))):
                    return node
                case ast.Call(func=ast.Attribute(attr="__init__", value=value), args=[_, *args]) if (
                    inspect.isclass(self._value(value))
                ):
                    return ast.Call(node.func, args, node.keywords)
        return None

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
            case ast.Call(func=func):
                # An object stands for its class, whose methods it has.
                made = self._value(func)
                return made if inspect.isclass(made) and not issubclass(made, BaseException) else _UNKNOWN
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


def _stored_once(tree: ast.AST) -> set[str]:
    """The names that a function gives a value in one place only, and that are no parameters of its."""
    stored: dict[str, int] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name) | ast.ExceptHandler(name=str(name)):
                stored[name] = stored.get(name, 0) + 1
    return {name for name, times in stored.items() if times == 1}


def _given(call: ast.Call, name: str, position: int) -> ast.expr | None:
    """The argument of a call, by its name or by its position; None if there is none, or nobody can tell."""
    named = _keywords(call, name)
    before = call.args[: position + 1]
    if named or len(before) <= position or any(isinstance(each, ast.Starred) for each in before):
        return named[0] if named else None
    return before[position]


def _next_init(cls: type, init: types.FunctionType) -> type:
    """The class in the line of `cls` that is asked behind the one whose `__init__` is `init`."""
    line = itertools.dropwhile(lambda each: vars(each).get("__init__") is not init, cls.__mro__)
    next(line)
    return next(line)  # at the latest `object`, whose own is no function


def _arguments(init: types.FunctionType, call: ast.Call | None, reader: _Reader) -> dict[str, list[Any]]:
    """What the parameters of `init` may be when `call` makes an object."""
    found: dict[str, list[Any]] = {}
    _, *parameters = inspect.signature(init).parameters.values()  # without `self`
    for position, parameter in enumerate(parameters):
        given = None if call is None else _given(call, parameter.name, position)
        if given is not None:
            found[parameter.name] = reader._constants(given)
        elif isinstance(parameter.default, (int, str)):
            found[parameter.name] = [parameter.default]
    return found


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
