"""
The two drivers of one call, blocking and awaiting.

What is to be done next `failwell.call.flow` decides, and an engine does the sending. Here its effects
are acted on, and the body, the pacer and the listeners are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from failwell.call.messages import Broken, Reply, Response, Send, Sleep
from failwell.client.setup import DEFAULT_DEADLINE, Setup, checked_connections
from failwell.contract import STANDARD, Contract
from failwell.engines import open_async_engine, open_engine
from failwell.engines.bodies import Body
from failwell.errors import UsageError
from failwell.telemetry import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn, Self

    from failwell.call.breaker import Breaker
    from failwell.call.budget import RetryBudget
    from failwell.call.flow import Call
    from failwell.call.messages import Timeouts
    from failwell.call.pacing import Pacer
    from failwell.call.retry import RetryPolicy
    from failwell.clock import Clock
    from failwell.engines.base import AsyncEngine, Connections, Engine
    from failwell.operations.streams import Connect
    from failwell.operations.together import Crew
    from failwell.telemetry import Listener


class _Made:
    """How both are made and shown: one signature for the twins."""

    _awaiting: ClassVar[bool]
    _opened: ClassVar[Any]  # `open_engine` or its twin

    def __init__(
        self,
        base_url: str,
        *,
        contract: Contract = STANDARD,
        credentials: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        budget: RetryBudget | None = None,
        breaker: Breaker | bool | None = None,
        pacing: Pacer | None = None,
        deadline: float | None = DEFAULT_DEADLINE,
        timeouts: Timeouts | None = None,
        idempotency: bool = True,
        follow_redirects: bool = True,
        engine: Any = "httpx",
        connections: Connections | None = None,
        name: str | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        try:
            self._setup = Setup(
                base_url,
                awaiting=self._awaiting,
                contract=contract,
                credentials=credentials,
                headers=headers,
                retry=retry,
                budget=budget,
                breaker=breaker,
                pacing=pacing,
                deadline=deadline,
                timeouts=timeouts,
                idempotency=idempotency,
                follow_redirects=follow_redirects,
                name=name,
                listeners=listeners,
                clock=clock,
                random=random,
            )
        except UsageError as exc:
            raise _refusal(contract, exc) from None
        finally:
            base_url = ""
            credentials = headers = None  # not for tracebacks that show locals
        try:
            self._engine = self._opened(engine, checked_connections(connections))
        except UsageError as exc:
            raise contract.refusal(exc) from exc.__cause__
        self._closed = False

    def __repr__(self) -> str:
        # A traceback that shows locals asks this of a client whose constructor refused its arguments.
        setup, engine = self.__dict__.get("_setup"), self.__dict__.get("_engine")
        where = f"{setup.base_url} on {engine.name}" if setup is not None and engine is not None else "unmade"
        return f"<{type(self).__name__} {where}>"

    def __reduce__(self) -> NoReturn:
        # Of `copy`, too: two clients would close each other's connections.
        raise TypeError(
            f"a {type(self).__name__} can be neither pickled nor copied: it holds connections and "
            "credentials; make one in each process"
        )

    @property
    def base_url(self) -> str:
        """Where the service is."""
        return self._setup.base_url

    @property
    def contract(self) -> Contract:
        """Which failure is which exception."""
        return self._setup.contract


class Caller(_Made):
    """
    Makes one call after another, blocking.

    Arguments as for `failwell.Client`.
    """

    _awaiting = False
    _opened = staticmethod(open_engine)
    _engine: Engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections, for good. Calling twice is harmless."""
        self._closed = True
        self._engine.close()

    def _run(self, call: Call, scope: str, crew: Crew | None = None) -> Response:
        """Drive the flow to its response, blocking in the engine."""
        if self._closed:
            raise self._setup.refusal(UsageError("this client was closed; make a new one"))
        setup = self._setup
        watch = Watch(setup.listeners, setup.clock, call.request) if setup.listeners else None
        if setup.pacing is not None and (pause := setup.pause(call)):
            setup.clock.sleep(pause)
        body = call.request.content if isinstance(call.request.content, Body) else None
        if body is not None and body.digests and "content-digest" not in call.request.headers:
            until = setup.until(call)
            try:
                setup.digested(call, body.digest(until), until)
            except UsageError as exc:
                raise setup.refusal(exc) from None
        flow = setup.flow(call, scope)
        error: BaseException | None = None
        result: Response | Broken | None = None
        try:
            effect = next(flow)
            while True:
                # Written out here: a call (and a coroutine) for each effect costs 0.3 us.
                result = None
                if type(effect) is Send:
                    if watch is not None:
                        watch.sending(effect)
                    if body is not None:
                        body.begin(effect.deadline)
                    result = self._engine.send(effect)
                    if body is not None:
                        result = body.told(result)
                    if watch is not None:
                        watch.sent(result)
                    if setup.pacing is not None:
                        setup.learn(result)
                else:
                    assert type(effect) is Sleep
                    setup.throttled(crew, effect)
                    setup.announce(effect, watch)
                    setup.clock.sleep(effect.seconds)
                reply = Reply(setup.clock.monotonic(), result, body is not None and body.spent)
                try:
                    effect = flow.send(reply)
                except StopIteration as done:
                    response: Response = done.value
                    return response
        except BaseException as exc:
            error = exc
            if isinstance(result, Response) and result.pieces is not None:
                result.pieces.close()
            raise
        finally:
            flow.close()  # Ctrl-C in the engine never enters the flow; this gives a probe back
            if body is not None:
                body.close()
            if watch is not None:
                watch.ended(error)
            del error

    def _open(self, effect: Connect, key: str | None) -> tuple[Call, Response]:
        """Open a stream, as the flow says."""
        call = self._setup.opening(effect, key)
        return call, self._run(call, effect.operation.scope)


class AsyncCaller(_Made):
    """
    Makes one call after another, awaiting.

    Arguments as for `failwell.AsyncClient`.
    """

    _awaiting = True
    _opened = staticmethod(open_async_engine)
    _engine: AsyncEngine

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections, for good. Calling twice is harmless."""
        self._closed = True
        await self._engine.aclose()

    async def _run(self, call: Call, scope: str, crew: Crew | None = None) -> Response:
        """Drive the flow to its response, awaiting the engine."""
        if self._closed:
            raise self._setup.refusal(UsageError("this client was closed; make a new one"))
        setup = self._setup
        watch = Watch(setup.listeners, setup.clock, call.request) if setup.listeners else None
        if setup.pacing is not None and (pause := setup.pause(call)):
            await setup.clock.asleep(pause)
        body = call.request.content if isinstance(call.request.content, Body) else None
        if body is not None and body.digests and "content-digest" not in call.request.headers:
            until = setup.until(call)
            try:
                setup.digested(call, await body.awaited_digest(until), until)
            except UsageError as exc:
                raise setup.refusal(exc) from None
        flow = setup.flow(call, scope)
        error: BaseException | None = None
        result: Response | Broken | None = None
        try:
            effect = next(flow)
            while True:
                # Written out here: a call (and a coroutine) for each effect costs 0.3 us.
                result = None
                if type(effect) is Send:
                    if watch is not None:
                        watch.sending(effect)
                    if body is not None:
                        body.begin(effect.deadline)
                    result = await self._engine.send(effect)
                    if body is not None:
                        result = body.told(result)
                    if watch is not None:
                        watch.sent(result)
                    if setup.pacing is not None:
                        setup.learn(result)
                else:
                    assert type(effect) is Sleep
                    setup.throttled(crew, effect)
                    setup.announce(effect, watch)
                    await setup.clock.asleep(effect.seconds)
                reply = Reply(setup.clock.monotonic(), result, body is not None and body.spent)
                try:
                    effect = flow.send(reply)
                except StopIteration as done:
                    response: Response = done.value
                    return response
        except BaseException as exc:
            error = exc
            if isinstance(result, Response) and result.pieces is not None:
                await result.pieces.aclose()
            raise
        finally:
            flow.close()  # a cancelled task never enters the flow; this gives a probe back
            if body is not None:
                body.close()
            if watch is not None:
                watch.ended(error)
            del error

    async def _open(self, effect: Connect, key: str | None) -> tuple[Call, Response]:
        """Open a stream, as the flow says."""
        call = self._setup.opening(effect, key)
        return call, await self._run(call, effect.operation.scope)


def _refusal(contract: object, error: UsageError) -> UsageError:
    """As `Setup.refusal`, where there is no `Setup`, because an argument was refused: perhaps `contract`."""
    known = contract if isinstance(contract, Contract) else STANDARD
    return known.refusal(error.with_traceback(None))
