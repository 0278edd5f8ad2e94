"""Methods declared once for the blocking and the awaiting client."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
import trio

from failwell import (
    ArgumentTypeError,
    AsyncClient,
    CallError,
    Client,
    ConfigurationError,
    Contract,
    NotFoundError,
    Operation,
    Poll,
    PollPolicy,
    PollTimeoutError,
    RetryPolicy,
    UsageError,
)
from failwell.arguments import Arguments
from failwell.models import Model
from failwell.operations.steps import Steps, do, pause
from failwell.resources import SDK, AsyncResource, AsyncSDK, Resource, awaiting, operation
from failwell.testing import AsyncScriptedEngine, FakeClock, ScriptedEngine, answer, assert_no_secret, broken


class ShopValueError(UsageError):
    """The input is wrong."""


class ShopTypeError(ShopValueError, ArgumentTypeError):
    """The input has the wrong type."""


CONTRACT = Contract(
    "shop",
    usage={UsageError: ShopValueError, ArgumentTypeError: ShopTypeError},
)
check = Arguments(CONTRACT)


@dataclass(frozen=True, slots=True)
class Order(Model):
    id: str
    status: str


def look_at(order_id: str) -> Operation[Order]:
    return Operation("GET", f"/orders/{check.segment('order_id', order_id)}", Order.from_response)


class Orders(Resource):
    """Orders."""

    @operation
    def get(self, order_id: str, *, deadline: float | None = None) -> Operation[Order]:
        """The order as it is now."""
        path = f"/orders/{check.segment('order_id', order_id)}"
        return Operation("GET", path, Order.from_response, deadline=deadline)

    @operation
    def place(self, body: dict[str, Any], *, idempotency_key: str | None = None) -> Operation[Order]:
        """The order that was placed."""
        return Operation("POST", "/orders", Order.from_response, json=body, idempotency_key=idempotency_key)

    @operation
    def wait(self, order_id: str, *, timeout: float = 60.0) -> Poll[Order]:
        """The order, once it is shipped."""
        return Poll(
            look_at(order_id),
            order_id,
            finished=lambda order: order.status == "shipped",
            policy=PollPolicy(timeout=timeout),
            called="order",
        )

    @operation
    def place_and_wait(self, body: dict[str, Any], *, timeout: float = 60.0) -> Steps[Order]:
        """The order, placed and then waited for."""
        placed = yield from do(Operation("POST", "/orders", Order.from_response, json=body))
        yield from pause(3.0)
        with contextlib.suppress(NotFoundError):
            yield from do(look_at("missing"))
        order: Order = yield from do(
            Poll(
                look_at(placed.id),
                placed.id,
                finished=lambda order: order.status == "shipped",
                policy=PollPolicy(timeout=timeout),
            )
        )
        check.text("never", order.status)
        return order

    @operation
    def refuse(self) -> Steps[Order]:
        """Refused in the middle."""
        yield from pause(1.0)
        raise UsageError("no more of these")


class AsyncOrders(AsyncResource):
    """Orders."""

    get = awaiting(Orders.get)
    place = awaiting(Orders.place)
    wait = awaiting(Orders.wait)
    place_and_wait = awaiting(Orders.place_and_wait)
    refuse = awaiting(Orders.refuse)


SETTINGS: dict[str, Any] = {"contract": CONTRACT, "retry": RetryPolicy(max_attempts=1)}


class Shop(SDK):
    """A shop."""

    def __init__(self, base_url: str = "https://shop.example", **settings: Any) -> None:
        self._client = Client(base_url, **SETTINGS, **settings)
        self.orders = Orders(self._client)

    @operation
    def ping(self) -> Operation[int]:
        """The status."""
        return Operation("GET", "/ping", lambda response: response.status)


class AsyncShop(AsyncSDK):
    """A shop."""

    def __init__(self, base_url: str = "https://shop.example", **settings: Any) -> None:
        self._client = AsyncClient(base_url, **SETTINGS, **settings)
        self.orders = AsyncOrders(self._client)

    ping = awaiting(Shop.ping)


class Use:
    """Asks one thing of a shop, on either client, and remembers what crossed the wire."""

    def __init__(self, drive: str) -> None:
        self.drive = drive
        self.clock = FakeClock()
        self.requests: list[Any] = []

    def __call__(self, ask: Callable[[Any], Any], script: Iterable[Any] = ()) -> Any:
        if self.drive == "sync":
            engine = ScriptedEngine(script, self.clock)
            try:
                with Shop(engine=engine, clock=self.clock) as shop:
                    return ask(shop)
            finally:
                self.requests = engine.requests
        aengine = AsyncScriptedEngine(script, self.clock)

        async def main() -> Any:
            async with AsyncShop(engine=aengine, clock=self.clock) as shop:
                return await ask(shop)

        try:
            return asyncio.run(main()) if self.drive == "asyncio" else trio.run(main)
        finally:
            self.requests = aengine.requests


@pytest.fixture(params=["sync", "asyncio", "trio"])
def use(request: pytest.FixtureRequest) -> Use:
    return Use(request.param)


def order(status: str = "shipped", order_id: str = "o_1") -> Any:
    return answer(200, {"id": order_id, "status": status})


def test_a_method_makes_the_call_its_function_describes(use: Use) -> None:
    assert use(lambda shop: shop.orders.get("o/1"), [order()]) == Order("o_1", "shipped")
    assert [(r.method, r.url) for r in use.requests] == [("GET", "https://shop.example/orders/o%2F1")]


def test_the_sdk_itself_has_methods_too(use: Use) -> None:
    assert use(lambda shop: shop.ping(), [answer(204)]) == 204


def test_an_idempotency_key_is_the_caller_s_or_one_that_was_made(use: Use) -> None:
    use(lambda shop: shop.orders.place({}, idempotency_key="mine"), [order()])
    assert use.requests[0].headers["idempotency-key"] == "mine"

    use(lambda shop: shop.orders.place({}), [order()])
    assert len(use.requests[0].headers["idempotency-key"]) == 32


def test_a_job_is_waited_for(use: Use) -> None:
    packing = answer(200, {"id": "o_1", "status": "packing"}, headers={"retry-after": "9"})
    script = [order("packing"), broken("reset"), packing, order()]

    assert use(lambda shop: shop.orders.wait("o_1"), script).status == "shipped"
    assert use.clock.sleeps == [1.0, 1.5, 9.0]


def test_a_job_that_takes_too_long_can_be_picked_up_again(use: Use) -> None:
    with pytest.raises(PollTimeoutError) as caught:
        use(lambda shop: shop.orders.wait("o_1", timeout=5.0), [order("packing")] * 9)

    assert (caught.value.job_id, caught.value.job_status) == ("o_1", "packing")
    assert sum(use.clock.sleeps) <= 5.0


def test_work_of_several_calls_is_done_step_by_step(use: Use) -> None:
    script = [order("new"), answer(404, {}), order("packing"), order()]

    assert use(lambda shop: shop.orders.place_and_wait({}), script).status == "shipped"
    assert [(r.method, r.url.rpartition("/")[2]) for r in use.requests] == [
        ("POST", "orders"),
        ("GET", "missing"),
        ("GET", "o_1"),
        ("GET", "o_1"),
    ]
    assert use.clock.sleeps == [3.0, 1.0]


def test_a_step_that_fails_ends_the_work(use: Use) -> None:
    with pytest.raises(CallError) as caught:
        use(lambda shop: shop.orders.place_and_wait({}), [answer(403, {})])

    assert caught.value.status == 403
    assert len(use.requests) == 1


@pytest.mark.parametrize(
    ("ask", "says", "raised"),
    [
        (lambda s: s.orders.get(5), "order_id is a int; give a string", ShopTypeError),
        (lambda s: s.orders.get(".."), "order_id is '..', which is no id", ShopValueError),
        (lambda s: s.orders.get("a", deadline="1"), "deadline is a str", ShopTypeError),
        (lambda s: s.orders.get("a", deadline=-1), "deadline is -1", ShopValueError),
        (lambda s: s.orders.place({}, idempotency_key=5), "idempotency_key is a int", ShopTypeError),
        (lambda s: s.orders.place({}, idempotency_key=""), "idempotency_key must be", ShopValueError),
        (lambda s: s.orders.place({"a": object()}), "json cannot be encoded", ShopTypeError),
        (lambda s: s.orders.place({"a": float("nan")}), "json cannot be encoded", ShopValueError),
        (lambda s: s.orders.wait("o_1", timeout=-1), "timeout is -1", ShopValueError),
        (lambda s: s.orders.refuse(), "no more of these", ShopValueError),
    ],
)  # fmt: skip
def test_what_is_refused_is_the_contract_s_class_and_nothing_is_sent(
    use: Use, ask: Callable[[Any], Any], says: str, raised: type[UsageError]
) -> None:
    with pytest.raises(raised, match=f"^{says}") as caught:
        use(ask)

    assert type(caught.value) is raised
    assert use.requests == []


def test_what_was_passed_is_in_no_frame_of_a_refusal(use: Use) -> None:
    with pytest.raises(ShopTypeError) as caught:
        use(lambda shop: shop.orders.place({"token": "s3cr3t-s3cr3t", "bad": object()}))

    assert_no_secret(caught.value, "s3cr3t-s3cr3t")
    with pytest.raises(ShopValueError) as caught_value:
        use(lambda shop: shop.orders.get(".." + " " * 40, deadline=1.0))
    frames = traceback.TracebackException.from_exception(caught_value.value, capture_locals=True).stack
    ours = [f.locals or {} for f in frames if f.filename.endswith("failwell/resources.py")]
    assert ours
    assert all("'..'" not in str(f) for f in ours)


def test_a_client_that_was_closed_refuses_with_the_contract_s_class() -> None:
    shop = Shop(engine=ScriptedEngine([]))
    shop.close()

    with pytest.raises(ShopValueError, match="this client was closed"):
        shop.ping()


@pytest.mark.parametrize("kind", [Shop, AsyncShop])
@pytest.mark.parametrize(
    "settings", [{"base_url": "shop"}, {"base_url": 5}, {"engine": "steam"}, {"deadline": -1.0}]
)
def test_a_client_that_cannot_be_made_is_refused_with_the_contract_s_class(
    kind: Any, settings: dict[str, Any]
) -> None:
    with pytest.raises(ShopValueError) as caught:
        kind(**settings)

    assert isinstance(caught.value, (ShopValueError, ShopTypeError))
    text = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert f"<{kind.__name__} unmade>" in text


def test_a_contract_without_classes_of_its_own_leaves_failwell_s() -> None:
    with pytest.raises(ConfigurationError):
        Client("shop")


def test_an_sdk_shows_where_it_goes() -> None:
    with Shop(engine=ScriptedEngine([])) as shop:
        assert repr(shop) == "<Shop https://shop.example>"
    shop.close()


@pytest.mark.parametrize("name", ["get", "place", "wait", "place_and_wait"])
def test_the_twin_takes_and_says_the_same_and_gives_the_result(name: str) -> None:
    method, twin = getattr(Orders, name), getattr(AsyncOrders, name)

    assert inspect.signature(method) == inspect.signature(twin)
    assert inspect.signature(method).return_annotation == "Order"
    assert inspect.get_annotations(method) == inspect.get_annotations(twin)
    assert inspect.getdoc(method) == inspect.getdoc(twin)
    assert inspect.iscoroutinefunction(twin)
    assert not inspect.iscoroutinefunction(method)
    assert (method.__qualname__, twin.__qualname__) == (f"Orders.{name}", f"AsyncOrders.{name}")


class Strange(Resource):
    """Whose functions say otherwise what they return."""

    @operation
    def odd(self) -> Operation:
        return Operation("GET", "/", lambda r: None)


@pytest.mark.parametrize("written", [Operation[Order], Poll[Order], Steps[Order], Order])
def test_what_a_method_gives_is_told_without_its_order(written: Any) -> None:
    def once(self: Any) -> Any:
        return look_at("o_1")

    once.__annotations__["return"] = written

    assert inspect.signature(operation(once)).return_annotation is Order
    assert inspect.signature(Shop.ping).return_annotation == "int"
    assert inspect.signature(Strange.odd).return_annotation == "Operation"


def test_ctrl_c_ends_the_steps_and_never_enters_them() -> None:
    ended: list[str] = []

    def work() -> Steps[None]:
        try:
            yield from do(look_at("o_1"))
        except BaseException as exc:
            ended.append(type(exc).__name__)
            raise

    with Shop(engine=ScriptedEngine([KeyboardInterrupt])) as shop, pytest.raises(KeyboardInterrupt):
        shop._client.perform(work())

    assert ended == ["GeneratorExit"]


def test_a_cancelled_task_ends_the_waiting() -> None:
    async def main() -> None:
        engine = AsyncScriptedEngine([order("packing")] * 99)
        async with AsyncShop(engine=engine) as shop:
            with trio.move_on_after(0.05) as scope:
                await shop.orders.wait("o_1")
            assert scope.cancelled_caught

    trio.run(main)
