"""What a handler raises and does not declare is found, in its source and when it is sent."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import check_helpers
import pytest
from check_helpers import Ledger, refused
from fastapi import APIRouter, Depends, FastAPI
from service_asgi import ask
from service_world import KEYS
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import failwell
from failwell import ConfigurationError, ConflictError, Failure, NotFoundError
from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.failure import Effect
from failwell.service import (
    InsufficientCreditsError,
    Operation,
    Refusal,
    RefusedRequest,
    Service,
    SQLiteStore,
    UndeclaredError,
    check,
    gates,
    guarded,
    install,
    routes_for,
)

WORDING = {"name_taken": (409, "The name is taken."), "made_by_helper": (409, "No.")}


class NameTakenError(ConflictError):
    """
    The name is taken.
    """


class OddError(NotFoundError):
    """There is nothing odd."""


service: Any = None
ledger = Ledger()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    made = SQLiteStore(tmp_path / "check.db")
    yield made
    made.close()


def found(store: SQLiteStore, endpoint: Any, **facts: Any) -> list[str]:
    """What `check` finds in one endpoint."""
    operation = Operation("POST", "/x", endpoint, **facts)
    made = Service(Starlette(), STANDARD, store=store, keys=KEYS, operations=[operation], wording=WORDING)
    try:
        check(made)
    except UndeclaredError as exc:
        error = exc
    else:
        return []
    for finding in error.findings:
        assert finding.operation == "POST /x"
        assert str(finding) in str(error)
    return [finding.raises for finding in error.findings]


# --- handlers: each raises one thing ---


async def raises_a_class(request: Request) -> Response:
    raise NameTakenError("taken")


async def raises_without_a_call(request: Request) -> Response:
    raise NameTakenError


async def raises_with_a_code(request: Request) -> Response:
    raise ConflictError("taken", failure=Failure(status=409, code="taken"))


async def raises_from_a_failure(request: Request) -> Response:
    raise NameTakenError.from_failure(Failure(status=409))


async def raises_a_refusal(request: Request) -> Response:
    raise RefusedRequest(Refusal("name_taken"))


async def raises_by_the_service(request: Request) -> Response:
    raise service.refuse("name_taken")


async def raises_a_failure_of_the_service(request: Request) -> Response:
    raise service.error(Failure(status=409, code="name_taken"))


async def raises_an_http_exception(request: Request) -> Response:
    raise HTTPException(418)


async def raises_an_http_exception_by_name(request: Request) -> Response:
    raise HTTPException(status_code=418, detail="no")


async def raises_what_it_named_before(request: Request) -> Response:
    error: Exception = NameTakenError("taken")
    raise error


async def raises_one_of_two(request: Request) -> Response:
    raise NameTakenError("taken") if request else OddError("odd")


async def raises_by_a_helper(request: Request) -> Response:
    raise refused("no")


async def raises_by_a_module(request: Request) -> Response:
    raise check_helpers.refused("no")


async def raises_in_a_method_of_another(request: Request) -> Response:
    ledger.debit()
    return Response()


async def raises_in_a_property(request: Request) -> Response:
    return JSONResponse(ledger.balance)


async def raises_in_methods_of_a_class(request: Request) -> Response:
    Ledger.of()
    Ledger.still()
    return Response()


async def raises_within(request: Request) -> Response:
    def effect(db: Any) -> Answer:
        raise NameTakenError("taken")

    return Response(effect(None).body)


async def raises_in_what_it_hands_on(request: Request) -> Response:
    return await functools.partial(raises_a_class, request)()


async def raises_again(request: Request) -> Response:
    try:
        raise NameTakenError("taken")
    except NameTakenError:
        raise


async def raises_what_it_caught(request: Request) -> Response:
    try:
        raise NameTakenError("taken")
    except NameTakenError as exc:
        raise exc


async def raises_what_is_not_enough(request: Request) -> Response:
    raise InsufficientCreditsError(None, 5)


raises_in_a_lambda = lambda request: service.refuse("name_taken")  # noqa: E731  # the point is that it has no name


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(request: Request) -> Any:
        return await function(request)

    return call


class Handlers:
    """Handlers that are methods."""

    def __init__(self) -> None:
        self.ledger = Ledger()

    async def direct(self, request: Request) -> Response:
        self._helper()
        return Response()

    async def by_a_member(self, request: Request) -> Response:
        self.ledger.debit()
        return Response()

    def _helper(self) -> None:
        raise NameTakenError("taken")

    async def __call__(self, request: Request) -> Response:
        self._helper()
        return Response()


class Slotted:
    """The same with slots."""

    __slots__ = ("empty", "ledger")

    def __init__(self) -> None:
        self.ledger = Ledger()

    async def direct(self, request: Request) -> Response:
        self.ledger.debit()
        self.empty.debit()
        return Response()


def closing_over() -> Callable[..., Any]:
    own = Ledger()

    async def endpoint(request: Request) -> Response:
        own.debit()
        later.debit()
        return Response()

    for later in request_ledgers():
        later.debit()
    return endpoint


def request_ledgers() -> list[Ledger]:
    return []


PLANTED = [
    (raises_a_class, ["NameTakenError"]),
    (raises_without_a_call, ["NameTakenError"]),
    (raises_with_a_code, ["ConflictError 'taken'"]),
    (raises_from_a_failure, ["NameTakenError"]),
    (raises_a_refusal, ["'name_taken'"]),
    (raises_by_the_service, ["'name_taken'"]),
    (raises_a_failure_of_the_service, ["409 'name_taken'"]),
    (raises_an_http_exception, ["418 'im_a_teapot'"]),
    (raises_an_http_exception_by_name, ["418 'im_a_teapot'"]),
    (raises_what_it_named_before, ["NameTakenError"]),
    (raises_one_of_two, ["NameTakenError", "OddError"]),
    (raises_by_a_helper, ["'made_by_helper'"]),
    (raises_by_a_module, ["'made_by_helper'"]),
    (raises_in_a_method_of_another, ["PaymentRequiredError 'poor'"]),
    (raises_in_a_property, ["PaymentRequiredError 'property'"]),
    (
        raises_in_methods_of_a_class,
        ["PaymentRequiredError 'staticmethod'", "PaymentRequiredError 'classmethod'"],
    ),
    (raises_within, ["NameTakenError"]),
    (raises_in_what_it_hands_on, ["NameTakenError"]),
    (raises_again, ["NameTakenError"]),
    (raises_what_it_caught, ["NameTakenError"]),
    (raises_what_is_not_enough, ["'insufficient_credits'"]),
    (wrapped(raises_a_class), ["NameTakenError"]),
    (Handlers().direct, ["NameTakenError"]),
    (Handlers().by_a_member, ["PaymentRequiredError 'poor'"]),
    (Handlers(), ["NameTakenError"]),
    (Handlers.direct, ["NameTakenError"]),
    (Slotted().direct, ["PaymentRequiredError 'poor'"]),
    (closing_over(), ["PaymentRequiredError 'poor'"]),
    (functools.partial(raises_a_class), ["NameTakenError"]),
]


class Outer:
    """A class within a class, whose methods are known by their names alone."""

    class Inner:
        async def endpoint(self, request: Request) -> Response:
            self.help()
            return Response()

        def help(self) -> None:
            raise NameTakenError("taken")


def made_here() -> Any:
    class Local:
        async def endpoint(self, request: Request) -> Response:
            self.help()  # nobody can tell from here which class it is
            raise OddError("odd")

        def help(self) -> None:
            raise NameTakenError("taken")

    return Local.endpoint


async def asks_itself(request: Request) -> Response:
    again = request and raises_a_class
    if again and (named := OddError("odd")):
        raise named
    return await asks_itself(request)


PLANTED += [
    (Outer.Inner.endpoint, ["NameTakenError"]),
    (made_here(), ["OddError"]),
    (asks_itself, ["NameTakenError", "OddError"]),
]


def named(value: Any) -> str | None:
    return getattr(value, "__qualname__", type(value).__name__) if callable(value) else None


@pytest.mark.parametrize(("endpoint", "planted"), PLANTED, ids=named)
def test_a_planted_raise_is_found(store: SQLiteStore, endpoint: Any, planted: list[str]) -> None:
    assert sorted(planted) == sorted(found(store, endpoint))


@pytest.mark.parametrize(
    ("endpoint", "raises"),
    [
        (raises_a_class, (NameTakenError,)),
        (raises_a_class, (ConflictError,)),
        (raises_a_class, ((NameTakenError, "some_code"),)),
        (raises_with_a_code, ((ConflictError, "taken"),)),
        (raises_a_refusal, ("name_taken",)),
        (raises_by_the_service, (ConflictError,)),
        (raises_a_failure_of_the_service, ("name_taken",)),
        (raises_an_http_exception, (418,)),
        (raises_one_of_two, (NameTakenError, OddError)),
    ],
)
def test_what_is_declared_is_not_found(store: SQLiteStore, endpoint: Any, raises: Any) -> None:
    assert found(store, endpoint, raises=raises) == []


@pytest.mark.parametrize(
    ("endpoint", "raises"),
    [
        (raises_a_class, (OddError,)),
        (raises_with_a_code, ((ConflictError, "another"),)),
        (raises_an_http_exception, (419, "name_taken")),
        (raises_a_refusal, ("made_by_helper",)),
    ],
)
def test_another_declaration_does_not_cover_it(store: SQLiteStore, endpoint: Any, raises: Any) -> None:
    assert len(found(store, endpoint, raises=raises)) == 1


# --- handlers with nothing to declare ---


async def catches(request: Request) -> Response:
    try:
        raises()
        ledger.debit()
    except NameTakenError:
        return Response()
    except (failwell.PaymentRequiredError, KeyError):
        return Response()
    with suppress(ConflictError):
        raises()
    try:
        raise service.refuse("name_taken")
    except:  # noqa: E722  # what is checked for
        return Response()


def raises() -> None:
    raise NameTakenError("taken")


async def is_a_bug(request: Request) -> Response:
    if request:
        raise ValueError("a bug is a 500, which every operation can answer")
    if request.method:
        raise failwell.ConnectError("nobody there")
    raise request.state.error


async def raises_what_cannot_be_told(request: Request) -> Response:
    kind = request.state.kind
    if kind:
        raise HTTPException(kind)
    if request:
        raise RefusedRequest(kind)
    raise service.refuse(kind)


async def is_implied(request: Request) -> Response:
    if request:
        raise HTTPException(404)
    raise RefusedRequest(Refusal("payload_too_large"))


@pytest.mark.parametrize(
    "endpoint", [catches, is_a_bug, raises_what_cannot_be_told, is_implied, None, len, Handlers, "text"]
)
def test_where_there_is_nothing_to_find_nothing_is_found(store: SQLiteStore, endpoint: Any) -> None:
    assert found(store, endpoint) == []


async def raises_a_code_made_up(request: Request) -> Response:
    raise service.error(Failure(status=409, code=request.state.code))


def test_a_code_that_is_not_told_may_be_the_declared_one(store: SQLiteStore) -> None:
    assert found(store, raises_a_code_made_up, raises=("name_taken",)) == []
    assert found(store, raises_a_code_made_up) == ["409"]


def test_what_reads_the_input_and_what_settles_are_read_too(store: SQLiteStore) -> None:
    def parse(body: bytes) -> Any:
        raise RefusedRequest(Refusal("name_taken"))

    async def settle(exchange: Any) -> Effect:
        raise NameTakenError("taken")

    facts: Any = {"parse": parse, "settle": settle, "idempotency": "at_most_once"}

    assert sorted(found(store, catches, **facts)) == ["'name_taken'", "NameTakenError"]


def test_source_that_is_not_there_is_not_read(store: SQLiteStore) -> None:
    scope: dict[str, Any] = {"__name__": "made.up", "NameTakenError": NameTakenError}
    exec("async def endpoint(request):\n    raise NameTakenError('x')", scope)

    assert found(store, scope["endpoint"]) == []


def test_an_exception_of_the_contract_that_has_no_answer_is_a_bug(store: SQLiteStore) -> None:
    assert found(store, raises_without_a_status) == []


async def raises_without_a_status(request: Request) -> Response:
    raise failwell.APIError("no status")


# --- applications ---


def dependency() -> None:
    raise OddError("odd")


async def second() -> None:
    raise NameTakenError("taken")


def test_a_fastapi_application_is_read_with_its_dependencies(store: SQLiteStore) -> None:
    app = FastAPI()

    @app.get("/a")
    @guarded(raises=[NameTakenError])
    async def a(
        one: Annotated[None, Depends(dependency)],
        two: None = Depends(second),
    ) -> None: ...

    @app.get("/b")
    async def b(thing: "Unknown") -> None: ...  # noqa: F821, UP037  # nobody knows the name

    install(
        app,
        STANDARD,
        store=store,
        keys=KEYS,
        operations=[Operation("GET", "/a", a), Operation("GET", "/b", b)],
    )
    with pytest.raises(UndeclaredError) as caught:
        check(app)
    assert ["NameTakenError", "OddError"] == sorted(f.raises for f in caught.value.findings)
    assert all(f.where.split(":")[0].endswith("test_check.py") for f in caught.value.findings)

    install(
        app,
        STANDARD,
        store=store,
        keys=KEYS,
        operations=[Operation("GET", "/a", a, raises=(OddError, NameTakenError))],
    )
    check(app)


def third() -> None:
    raise OddError("odd")


def test_dependencies_of_routes_routers_and_applications_are_read(store: SQLiteStore) -> None:
    app, mounted = FastAPI(dependencies=[Depends(dependency)]), FastAPI()
    router = APIRouter(dependencies=[Depends(second)])

    @router.get("/b", dependencies=[Depends(third)])
    async def b() -> None: ...

    @mounted.get("/c", dependencies=[Depends(second)])
    async def c() -> None: ...

    app.include_router(router, prefix="/a")
    app.mount("/m", mounted)
    install(app, STANDARD, store=store, keys=KEYS)

    with pytest.raises(UndeclaredError) as caught:
        check(app)
    assert sorted((f.operation, f.raises) for f in caught.value.findings) == [
        ("GET /a/b", "NameTakenError"), ("GET /a/b", "OddError"), ("GET /a/b", "OddError"),
        ("GET /m/c", "NameTakenError"),
    ]  # fmt: skip


def decorated(endpoint: Any) -> Any:
    @functools.wraps(endpoint)
    async def wrapper(*args: Any) -> Any:
        try:
            return await endpoint(*args)
        except NameTakenError:
            raise OddError("odd") from None

    return wrapper


@decorated
async def raises_within_a_decorator(request: Request) -> Response:
    raise NameTakenError("taken")


def test_a_decorator_is_read_with_what_it_catches_and_raises(store: SQLiteStore) -> None:
    assert found(store, raises_within_a_decorator) == ["OddError"]


def test_what_stands_within_somebody_elses_decorator_is_read(store: SQLiteStore) -> None:
    assert found(store, functools.cache(raises_within_a_decorator)) == ["OddError"]
    assert found(store, asynccontextmanager(raises_in_a_context)) == ["OddError"]


async def raises_in_a_context(request: Request) -> Any:
    yield
    raise OddError("odd")


class Endpoint(HTTPEndpoint):
    @guarded(raises=[OddError])
    async def get(self, request: Request) -> Response:
        self.help()
        return Response()

    def help(self) -> None:
        raise NameTakenError("taken")


def test_an_endpoint_that_is_a_class_is_read_by_method(store: SQLiteStore) -> None:
    app = Starlette(routes=[Route("/e", Endpoint)])
    install(app, STANDARD, store=store, keys=KEYS)

    with pytest.raises(UndeclaredError, match=r"GET /e: NameTakenError \(.*test_check.py:\d+\)"):
        check(app)


@pytest.mark.parametrize("thing", [Starlette(), object()])
def test_what_is_not_behind_the_gates_cannot_be_checked(thing: Any) -> None:
    with pytest.raises(ConfigurationError, match="not behind the gates"):
        check(thing)


@pytest.mark.parametrize(
    ("raises", "says"),
    [
        ("no_such_code", "no code of the wording"),
        (ValueError, "no exception of the contract"),
        (failwell.ConnectError, "no exception of the contract"),
        (failwell.APIError, "has no answer"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused_at_once(
    store: SQLiteStore, raises: Any, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        found(store, catches, raises=(raises,))


# --- what was sent ---


async def endpoint(request: Request) -> Response:
    match request.query_params["what"]:
        case "class":
            raise NameTakenError("taken")
        case "odd":
            raise OddError("odd")
        case "code":
            raise ConflictError("taken", failure=Failure(status=409, code="taken"))
        case "status":
            raise HTTPException(418)
        case "word":
            raise RefusedRequest(Refusal("name_taken"))
        case "bug":
            raise ValueError
    return Response()


def test_what_was_sent_and_not_declared_is_kept(store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    operations = [
        Operation("GET", "/x", endpoint, public=True, raises=(OddError,)),
        Operation("GET", "/closed", endpoint),
    ]
    made = install(
        Starlette(routes=routes_for(operations)), STANDARD, store=store, keys=KEYS,
        operations=operations, wording=WORDING,
    )  # fmt: skip

    def send(what: str, path: str = "/x") -> None:
        asyncio.run(ask(made, "GET", path, query=f"what={what}"))

    for what in ("odd", "bug", "nothing"):
        send(what)
    send("nothing", "/closed")
    send("nothing", "/nowhere")
    assert made.undeclared == set()

    for what in ("class", "code", "status", "word", "word"):
        send(what)
    assert made.undeclared == {
        ("GET /x", "NameTakenError", "409"),
        ("GET /x", "ConflictError", "taken"),
        ("GET /x", "InvalidRequestError", "im_a_teapot"),
        ("GET /x", "ConflictError", "name_taken"),
    }

    monkeypatch.setattr(gates, "MOST_UNDECLARED", 4)
    made.undeclared.discard(("GET /x", "NameTakenError", "409"))
    send("class")
    send("class")
    assert len(made.undeclared) == 4
