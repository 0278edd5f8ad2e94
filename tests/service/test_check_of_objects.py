"""What the making of objects, exceptions with a status of their own, and debits end in, is found."""

import dataclasses
import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, cast

import pytest
from fastapi import Depends, FastAPI
from service_behind import Behind
from service_world import KEYS
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

import failwell
from failwell import Answer, Failure
from failwell.contract import STANDARD
from failwell.service import (
    Debit,
    InsufficientCreditsError,
    Operation,
    Refusal,
    RefusedRequest,
    Service,
    SQLiteStore,
    UndeclaredError,
    check,
    exchange_of,
    guarded,
)

TEAPOT = "418 'im_a_teapot'"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteStore]:
    made = SQLiteStore(tmp_path / "check.db")
    yield made
    made.close()


def found(store: SQLiteStore, endpoint: Any, **facts: Any) -> list[str]:
    """What `check` finds in one endpoint, without the class."""
    operation = Operation("POST", "/x", endpoint, **facts)
    service = Service(Starlette(), STANDARD, store=store, keys=KEYS, operations=[operation])
    return _findings(service)


def _findings(checked: Any) -> list[str]:
    try:
        check(checked)
    except UndeclaredError as exc:
        return [finding.raises for finding in exc.findings]
    return []


# --- objects ---


class Shelf:
    """What can go wrong while it is made, used and entered."""

    def __init__(self) -> None:
        raise HTTPException(418)


class Drawer:
    def __new__(cls) -> "Drawer":
        raise HTTPException(418)


@dataclasses.dataclass
class Box:
    width: int

    def __post_init__(self) -> None:
        if self.width < 1:
            raise HTTPException(418)


class Lamp:
    def light(self) -> None:
        self._light()

    def _light(self) -> None:
        raise HTTPException(418)


class Lock:
    def __enter__(self) -> None:
        raise HTTPException(418)

    def __exit__(self, *_: object) -> None: ...

    async def __aenter__(self) -> None:
        raise HTTPException(418)

    async def __aexit__(self, *_: object) -> None: ...


@contextmanager
def locked() -> Iterator[None]:
    raise HTTPException(418)
    yield


async def makes(request: Request) -> None:
    Shelf()


async def makes_by_new(request: Request) -> None:
    Drawer()


async def makes_a_dataclass(request: Request) -> None:
    Box(0)


async def uses_what_it_made(request: Request) -> None:
    lamp = Lamp()
    lamp.light()


async def uses_at_once(request: Request) -> None:
    Lamp().light()


async def enters(request: Request) -> None:
    with Lock():
        pass


async def enters_and_waits(request: Request) -> None:
    async with Lock():
        pass


async def enters_a_function(request: Request) -> None:
    with locked():
        pass


# --- exceptions ---


class TeapotError(HTTPException):
    def __init__(self) -> None:
        super().__init__(418)


class NamedError(HTTPException):
    def __init__(self, why: str = "", *, code: int = 418) -> None:
        HTTPException.__init__(self, detail=why, status_code=code)


class KettleError(NamedError):
    def __init__(self, code: int) -> None:
        print("before")
        super().__init__("hot", code=code)


class UntoldError(HTTPException):
    def __init__(self) -> None:
        print("it says nothing")


MADE_BEFORE = HTTPException(418)
MADE_OF_THE_CONTRACT = failwell.ConflictError("taken", failure=Failure(status=409, code="taken"))
MADE_REFUSAL = RefusedRequest(Refusal("spilled", status=409, message="Spilled."))


async def raises_a_class_with_a_status(request: Request) -> None:
    raise TeapotError


async def raises_an_object_with_a_status(request: Request) -> None:
    raise TeapotError()


async def raises_the_default(request: Request) -> None:
    raise NamedError("cold")


async def raises_what_it_hands_up(request: Request) -> None:
    raise KettleError(418)


async def raises_what_nobody_knows(request: Request) -> None:
    if request:
        raise KettleError(int(request.query_params["code"]))
    raise UntoldError


async def raises_what_lacks_an_argument(request: Request) -> None:
    kettle: Any = KettleError
    raise kettle


class OlderError(TeapotError):
    """Its status is that of the class that it is one of."""


async def raises_one_with_an_older_init(request: Request) -> None:
    raise OlderError


async def raises_a_namesake(request: Request) -> None:
    raise http.client.HTTPException("of a client, and so a bug")


async def names_other_things_at_once(request: Request) -> None:
    request.state.first, _ = 1, 2
    raise HTTPException(int(request.url.path))


async def raises_a_number_with_a_name(request: Request) -> None:
    code = 418
    raise HTTPException(code)


async def raises_one_of_several_numbers(request: Request) -> None:
    code = 418
    if request:
        code = 451 if request.method else int(request.method)
    raise HTTPException(code or 410)


async def raises_what_was_made_before(request: Request) -> None:
    raise MADE_BEFORE


async def raises_an_object_of_the_contract(request: Request) -> None:
    raise MADE_OF_THE_CONTRACT


async def raises_a_refusal_made_before(request: Request) -> None:
    raise MADE_REFUSAL


async def raises_one_of_two_that_it_named_at_once(request: Request) -> None:
    error, _ = HTTPException(418), 1
    raise error


async def raises_this_or_that(request: Request) -> None:
    raise request.state.error or HTTPException(418)


# --- debits ---


def effect(db: Any) -> Answer:
    return Answer(201, {}, b"{}")


async def spends(request: Request) -> None:
    await exchange_of(request).commit(effect, Debit(5))


async def spends_by_a_helper(request: Request) -> None:
    cost = Debit(amount=len(request.url.path))
    await _commit(request, cost)


async def _commit(request: Request, *debits: Debit) -> None:
    await exchange_of(request).commit(effect, *debits)


async def gives_back(request: Request) -> None:
    await exchange_of(request).commit(effect, Debit(-5))


async def answers_who_cannot_pay(request: Request) -> None:
    with suppress(InsufficientCreditsError):
        await exchange_of(request).commit(effect, Debit(5))


UNPAID = ["'insufficient_credits'"]


@pytest.mark.parametrize(
    ("endpoint", "planted"),
    [
        (makes, [TEAPOT]),
        (makes_by_new, [TEAPOT]),
        (makes_a_dataclass, [TEAPOT]),
        (uses_what_it_made, [TEAPOT]),
        (uses_at_once, [TEAPOT]),
        (enters, [TEAPOT]),
        (enters_and_waits, [TEAPOT]),
        (enters_a_function, [TEAPOT]),
        (raises_a_class_with_a_status, [TEAPOT]),
        (raises_an_object_with_a_status, [TEAPOT]),
        (raises_the_default, [TEAPOT]),
        (raises_what_it_hands_up, [TEAPOT]),
        (raises_what_nobody_knows, []),
        (raises_what_lacks_an_argument, []),
        (raises_one_with_an_older_init, [TEAPOT]),
        (raises_a_namesake, []),
        (names_other_things_at_once, []),
        (raises_a_number_with_a_name, [TEAPOT]),
        (raises_one_of_several_numbers, ["410 'gone'", TEAPOT, "451 'unavailable_for_legal_reasons'"]),
        (raises_what_was_made_before, [TEAPOT]),
        (raises_an_object_of_the_contract, ["ConflictError 'taken'"]),
        (raises_one_of_two_that_it_named_at_once, [TEAPOT]),
        (raises_this_or_that, [TEAPOT]),
        (spends, UNPAID),
        (spends_by_a_helper, UNPAID),
        (gives_back, []),
        (answers_who_cannot_pay, []),
        (Shelf, [TEAPOT]),
        (Lamp, []),
    ],
)
def test_what_is_planted_is_found(
    store: SQLiteStore, endpoint: Callable[..., Any], planted: list[str]
) -> None:
    assert planted == sorted(found(store, endpoint))


def test_a_refusal_that_was_made_before_is_found_by_its_code(store: SQLiteStore) -> None:
    assert ["409 'spilled'"] == found(store, raises_a_refusal_made_before)


@pytest.mark.parametrize(
    ("endpoint", "facts"),
    [
        (makes, {"raises": [418]}),
        (raises_a_class_with_a_status, {"raises": [418]}),
        (spends, {"raises": ["insufficient_credits"]}),
        (spends, {"raises": ["quota_exceeded"]}),  # which of the two the account is told by
        (spends, {"debits": [Debit(1)]}),
    ],
)
def test_what_is_declared_is_not_found_again(store: SQLiteStore, endpoint: Any, facts: Any) -> None:
    facts = {name: tuple(value) for name, value in facts.items()}
    assert found(store, endpoint, **facts) == []


# --- what FastAPI makes ---


class Auth:
    def __init__(self, token: str = "") -> None:
        if not token:
            raise HTTPException(418)


class Asking:
    """One that depends on another one."""

    def __init__(self, auth: Annotated[Auth, Depends()]) -> None:
        self.auth = auth


def _app(endpoint: Any, **settings: Any) -> FastAPI:
    app = FastAPI(**settings)
    app.post("/x")(endpoint)
    return app


async def by_default(auth: Any = Depends(Auth)) -> None: ...  # noqa: B008  # as FastAPI has it


async def by_its_own_annotation(auth: Auth = Depends()) -> None: ...  # noqa: B008  # likewise


async def by_annotation(auth: Annotated[Auth, Depends()]) -> None: ...


async def by_another_one(asking: Annotated[Asking, Depends()]) -> None: ...


async def with_nothing() -> None: ...


async def of_what_nobody_made(thing: Any) -> None:
    """An annotation that cannot be read, as where it is imported for type checkers only."""


of_what_nobody_made.__annotations__["thing"] = "Nowhere"


async def of_no_class(thing: Any) -> None:
    """What FastAPI would not take."""


of_no_class.__defaults__ = (Depends(cast("Any", "nothing")),)


@pytest.mark.parametrize("endpoint", [of_what_nobody_made, of_no_class])
def test_a_dependency_that_cannot_be_read_is_left_out(store: SQLiteStore, endpoint: Any) -> None:
    assert found(store, endpoint) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: _app(by_default),
        lambda: _app(by_its_own_annotation),
        lambda: _app(by_annotation),
        lambda: _app(by_another_one),
        lambda: _app(with_nothing, dependencies=[Depends(Auth)]),
    ],
)
def test_a_class_that_a_route_depends_on_is_read(tmp_path: Path, make: Callable[[], FastAPI]) -> None:
    with Behind(tmp_path, app=make()) as here:
        assert _findings(here.service) == [TEAPOT]


def test_what_is_refused_for_lack_of_credits_stands_in_the_document_once_it_is_declared(
    tmp_path: Path,
) -> None:
    app = FastAPI()

    @app.post("/pay", status_code=201)
    @guarded(raises=["insufficient_credits"])
    async def pay(request: Request) -> Response:
        answer = await exchange_of(request).commit(effect, Debit(5))
        return Response(answer.body, answer.status)

    with Behind(tmp_path, app=app) as here:
        check(here.service)
        answer = here.ask("POST", "/pay")
        document = here.service.openapi()
        undeclared = here.service.undeclared

    assert answer.status == 402
    assert "402" in document["paths"]["/pay"]["post"]["responses"]
    assert undeclared == set()
