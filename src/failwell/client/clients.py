"""
The clients: what can be asked of them, and how long work is driven, blocking and awaiting.

What is decided is decided in `failwell.operations`; each call of the work is made by a `Caller`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

from failwell.call.messages import Sleep
from failwell.call.operation import Operation
from failwell.client.caller import AsyncCaller, Caller
from failwell.client.downloading import afetch, fetch
from failwell.client.streaming import AsyncEventStream, EventStream
from failwell.client.workers import in_tasks, in_threads
from failwell.errors import CallError, UsageError
from failwell.operations.batches import Batch
from failwell.operations.downloads import Download
from failwell.operations.parts import PartUpload
from failwell.operations.polling import Looked, Poll
from failwell.operations.steps import Done, Locally, Together

if TYPE_CHECKING:
    from collections.abc import Mapping

    from failwell.call.messages import Response
    from failwell.call.operation import Content
    from failwell.operations.batches import BatchResult
    from failwell.operations.polling import Look
    from failwell.operations.steps import Order, Steps
    from failwell.operations.streams import Stream
    from failwell.operations.together import Crew

T = TypeVar("T")
In = TypeVar("In")


class Client(Caller):
    """
    Calls an HTTP API, blocking.

    Args:
        base_url: Scheme and host, and a path that all calls share.
        contract: Which failure is which exception; the standard ones by default.
        credentials: Headers that carry secrets, such as `{"authorization": "Bearer ..."}`. They
            are sent to this origin only and appear in no error, log or `repr`.
        headers: Further headers of every call.
        retry: Which failures are tried again.
        budget: Shared with other clients of the same service, if you have several.
        breaker: True or a `Breaker` for one, False for none; by default the contract decides.
        pacing: A `Pacer` to slow down before a rate limit is reached.
        deadline: Seconds for a whole call, all tries and waits included; None for no limit.
        timeouts: For each wait within an attempt.
        idempotency: Whether writes get an idempotency key by themselves.
        follow_redirects: Whether safe methods follow redirects. Writes never do.
        engine: "httpx" (default) or "pyreqwest"; or a client or transport of httpx2 or httpx
            that you bring, and close.
        connections: How the engine connects.
        name: What the logger is called: `<name>.transport`.
        listeners: Called with each `failwell.telemetry.Event`.
        clock: The time to go by; for tests.
        random: Gives a number from 0 up to 1; for tests.

    Raises:
        ConfigurationError: the base URL or the engine cannot be used.
        UsageError: another setting cannot be used.
    """

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Response:
        """
        Make one call.

        Args:
            method: The HTTP method.
            path: Below the base URL.
            params: The query; None values are left out, lists are repeated.
            json: The body as JSON types; None for none.
            content: The body, where it is not JSON: bytes, the path of a file, one opened in binary
                mode, an iterator of bytes, or a `failwell.Upload`.
            headers: Added to the client's.
            idempotency_key: Sent with every try; by default a write gets one by itself.
            deadline: Seconds for the whole call; None for the client's.

        Raises:
            CallError: it did not succeed; the class is the one the contract names.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        # A traceback that shows locals must not show what was passed: neither of this frame nor,
        # if an argument is refused, of those that looked at it.
        try:
            call = self._setup.call(method, path, params, json, content, headers, idempotency_key, deadline)
        except UsageError as exc:
            raise self._setup.refusal(exc) from None
        finally:
            path = ""
            params = json = content = headers = None
        return self._run(call, "")

    def call(
        self, operation: Operation[T], *, idempotency_key: str | None = None, deadline: float | None = None
    ) -> T:
        """
        Carry out one operation of an API.

        Args:
            operation: What to ask and how to read the answer.
            idempotency_key: Sent with every try; by default the operation's, and a write without
                one gets one by itself.
            deadline: Seconds for the whole call; None for the operation's or the client's.

        Raises:
            CallError: it did not succeed; the class is the one the contract names.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        call = self._setup.call_of(operation, idempotency_key, deadline)
        response = self._run(call, operation.scope)
        return self._setup.parsed(operation, call, response)

    def poll(self, poll: Poll[T]) -> T:
        """
        Wait until a job of the service is finished.

        Args:
            poll: Which job, how often to look and for how long.

        Returns:
            What the last look saw.

        Raises:
            CallError: the class the contract names for `PollTimeoutError`, which leaves the job
                running, for `JobFailedError`, or for what went wrong with looking.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        return self._poll(poll, None)

    def stream(self, stream: Stream[T]) -> EventStream[T]:
        """
        Read a stream of events to its end, through breaks.

        Args:
            stream: Which, what its events mean, and how it goes on after a break.

        Returns:
            The stream, not open yet: `with client.stream(...) as events: for item in events: ...`.

        Raises:
            CallError: (when it is opened or iterated) the class the contract names for what went wrong
                with opening it, for what an event reports, for an answer that is no stream of events
                (`BadAnswerError`), for the deadline (`CallTimeoutError`), and for `StreamError`, if it
                broke and cannot go on.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        return EventStream(self, stream)

    @overload
    def perform(self, order: Batch[In, T]) -> BatchResult[In, T]: ...
    @overload
    def perform(self, order: Operation[T] | Poll[T] | PartUpload[T] | Download[T] | Steps[T]) -> T: ...
    def perform(self, order: Any) -> Any:
        """
        Carry out an operation, wait for a job, send a batch or a file in parts, download one, or do the
        steps of a generator.

        Args:
            order: What to do; see `failwell.operations.steps`.

        Returns:
            What it brings; of a batch a `BatchResult`, whether or not its items succeeded.

        Raises:
            CallError: a step did not succeed, and the generator did not take care of it.
            UsageError: an argument cannot be used.
        """
        return self._perform(order, None)

    def _perform(self, order: Any, crew: Crew | None) -> Any:
        """Do `order`, as part of what `crew` does."""
        setup = self._setup
        if isinstance(order, Operation):
            call = setup.call_of(order, None, setup.within(order.deadline, crew))
            return setup.parsed(order, call, self._run(call, order.scope, crew))
        if isinstance(order, Poll):
            return self._poll(order, crew)
        if isinstance(order, Download):
            return fetch(self, order, setup.within(order.policy.deadline, crew))
        if isinstance(order, Batch):
            self._together(setup.batch_crew(order, crew))
            return order.result
        if isinstance(order, PartUpload):
            order, crew = setup.part_steps(order, crew)
        try:
            try:
                step = next(order)
                while True:
                    step = order.send(self._done(step, crew))
            except StopIteration as done:
                return done.value
            except UsageError as exc:
                raise setup.refusal(exc) from None
        finally:
            order.close()

    def _together(self, crew: Crew) -> None:
        """Let as many as `crew` wants do what it says."""
        in_threads(crew, lambda order: self._perform(order, crew), self._setup.clock)

    def _poll(self, poll: Poll[T], crew: Crew | None) -> T:
        flow = self._setup.poll_flow(poll, crew)
        try:
            effect = next(flow)
            while True:
                looked = self._looked(effect, crew)
                try:
                    effect = flow.send(looked)
                except StopIteration as done:
                    result: T = done.value
                    return result
        finally:
            flow.close()

    def _looked(self, effect: Look[Any] | Sleep, crew: Crew | None) -> Looked:
        """Act on one effect of a poll."""
        setup = self._setup
        if isinstance(effect, Sleep):
            setup.clock.sleep(effect.seconds)
            return Looked(setup.clock.monotonic())
        operation = effect.operation
        try:
            call = setup.call_of(operation, None, effect.deadline)
            response = self._run(call, operation.scope, crew)
            result = setup.parsed(operation, call, response)
        except CallError as exc:
            return Looked(setup.clock.monotonic(), error=exc)
        return Looked(setup.clock.monotonic(), result, response)

    def _done(self, step: Order, crew: Crew | None) -> Done:
        """Act on one step."""
        setup, clock = self._setup, self._setup.clock
        if isinstance(step, Sleep):
            setup.throttled(crew, step)
            clock.sleep(setup.within(step.seconds, crew) or 0.0)
            return Done(clock.monotonic())
        if isinstance(step, Locally):
            try:
                return Done(clock.monotonic(), step.work())
            except Exception as exc:  # noqa: BLE001  # it is raised in the steps
                return Done(clock.monotonic(), error=exc)
        if isinstance(step, Together):
            step.crew.outer = crew
            self._together(step.crew)
            return Done(clock.monotonic(), step.crew)
        try:
            result = self._perform(step, crew)
        except CallError as exc:
            return Done(clock.monotonic(), error=exc)
        return Done(clock.monotonic(), result)


class AsyncClient(AsyncCaller):
    """
    Calls an HTTP API, awaiting: under asyncio or trio on the httpx family, under asyncio on
    aiohttp and pyreqwest.

    Arguments as for `Client`; `engine` may also be "aiohttp".
    """

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Response:
        """
        Make one call.

        Args:
            method: The HTTP method.
            path: Below the base URL.
            params: The query; None values are left out, lists are repeated.
            json: The body as JSON types; None for none.
            content: The body, where it is not JSON: bytes, the path of a file, one opened in binary
                mode, an iterator of bytes, or a `failwell.Upload`.
            headers: Added to the client's.
            idempotency_key: Sent with every try; by default a write gets one by itself.
            deadline: Seconds for the whole call; None for the client's.

        Raises:
            CallError: it did not succeed; the class is the one the contract names.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        # A traceback that shows locals must not show what was passed: neither of this frame nor,
        # if an argument is refused, of those that looked at it.
        try:
            call = self._setup.call(method, path, params, json, content, headers, idempotency_key, deadline)
        except UsageError as exc:
            raise self._setup.refusal(exc) from None
        finally:
            path = ""
            params = json = content = headers = None
        return await self._run(call, "")

    async def call(
        self, operation: Operation[T], *, idempotency_key: str | None = None, deadline: float | None = None
    ) -> T:
        """
        Carry out one operation of an API.

        Args:
            operation: What to ask and how to read the answer.
            idempotency_key: Sent with every try; by default the operation's, and a write without
                one gets one by itself.
            deadline: Seconds for the whole call; None for the operation's or the client's.

        Raises:
            CallError: it did not succeed; the class is the one the contract names.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        call = self._setup.call_of(operation, idempotency_key, deadline)
        response = await self._run(call, operation.scope)
        return self._setup.parsed(operation, call, response)

    async def poll(self, poll: Poll[T]) -> T:
        """
        Wait until a job of the service is finished.

        Args:
            poll: Which job, how often to look and for how long.

        Returns:
            What the last look saw.

        Raises:
            CallError: the class the contract names for `PollTimeoutError`, which leaves the job
                running, for `JobFailedError`, or for what went wrong with looking.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        return await self._poll(poll, None)

    def stream(self, stream: Stream[T]) -> AsyncEventStream[T]:
        """
        Read a stream of events to its end, through breaks.

        Args:
            stream: Which, what its events mean, and how it goes on after a break.

        Returns:
            The stream, not open yet: `with client.stream(...) as events: for item in events: ...`.

        Raises:
            CallError: (when it is opened or iterated) the class the contract names for what went wrong
                with opening it, for what an event reports, for an answer that is no stream of events
                (`BadAnswerError`), for the deadline (`CallTimeoutError`), and for `StreamError`, if it
                broke and cannot go on.
            UsageError: an argument cannot be used. Nothing was sent.
        """
        return AsyncEventStream(self, stream)

    @overload
    async def perform(self, order: Batch[In, T]) -> BatchResult[In, T]: ...
    @overload
    async def perform(self, order: Operation[T] | Poll[T] | PartUpload[T] | Download[T] | Steps[T]) -> T: ...
    async def perform(self, order: Any) -> Any:
        """
        Carry out an operation, wait for a job, send a batch or a file in parts, download one, or do the
        steps of a generator.

        Args:
            order: What to do; see `failwell.operations.steps`.

        Returns:
            What it brings; of a batch a `BatchResult`, whether or not its items succeeded.

        Raises:
            CallError: a step did not succeed, and the generator did not take care of it.
            UsageError: an argument cannot be used.
        """
        return await self._perform(order, None)

    async def _perform(self, order: Any, crew: Crew | None) -> Any:
        """Do `order`, as part of what `crew` does."""
        setup = self._setup
        if isinstance(order, Operation):
            call = setup.call_of(order, None, setup.within(order.deadline, crew))
            return setup.parsed(order, call, await self._run(call, order.scope, crew))
        if isinstance(order, Poll):
            return await self._poll(order, crew)
        if isinstance(order, Download):
            return await afetch(self, order, setup.within(order.policy.deadline, crew))
        if isinstance(order, Batch):
            await self._together(setup.batch_crew(order, crew))
            return order.result
        if isinstance(order, PartUpload):
            order, crew = setup.part_steps(order, crew)
        try:
            try:
                step = next(order)
                while True:
                    step = order.send(await self._done(step, crew))
            except StopIteration as done:
                return done.value
            except UsageError as exc:
                raise setup.refusal(exc) from None
        finally:
            order.close()

    async def _together(self, crew: Crew) -> None:
        """Let as many as `crew` wants do what it says."""
        await in_tasks(crew, lambda order: self._perform(order, crew), self._setup.clock)

    async def _poll(self, poll: Poll[T], crew: Crew | None) -> T:
        flow = self._setup.poll_flow(poll, crew)
        try:
            effect = next(flow)
            while True:
                looked = await self._looked(effect, crew)
                try:
                    effect = flow.send(looked)
                except StopIteration as done:
                    result: T = done.value
                    return result
        finally:
            flow.close()

    async def _looked(self, effect: Look[Any] | Sleep, crew: Crew | None) -> Looked:
        """Act on one effect of a poll."""
        setup = self._setup
        if isinstance(effect, Sleep):
            await setup.clock.asleep(effect.seconds)
            return Looked(setup.clock.monotonic())
        operation = effect.operation
        try:
            call = setup.call_of(operation, None, effect.deadline)
            response = await self._run(call, operation.scope, crew)
            result = setup.parsed(operation, call, response)
        except CallError as exc:
            return Looked(setup.clock.monotonic(), error=exc)
        return Looked(setup.clock.monotonic(), result, response)

    async def _done(self, step: Order, crew: Crew | None) -> Done:
        """Act on one step."""
        setup, clock = self._setup, self._setup.clock
        if isinstance(step, Sleep):
            setup.throttled(crew, step)
            await clock.asleep(setup.within(step.seconds, crew) or 0.0)
            return Done(clock.monotonic())
        if isinstance(step, Locally):
            from failwell.engines.threads import in_thread

            try:
                return Done(clock.monotonic(), await in_thread(step.work))
            except Exception as exc:  # noqa: BLE001  # it is raised in the steps
                return Done(clock.monotonic(), error=exc)
        if isinstance(step, Together):
            step.crew.outer = crew
            await self._together(step.crew)
            return Done(clock.monotonic(), step.crew)
        try:
            result = await self._perform(step, crew)
        except CallError as exc:
            return Done(clock.monotonic(), error=exc)
        return Done(clock.monotonic(), result)
