"""What the subjects share: a service of their own, keys by name, the ledger by marker, causes all have."""

from __future__ import annotations

import copy
import inspect
import json
import os
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import fields, replace
from types import ModuleType
from typing import Any

from failwell.drill.faults import crash_at_work, once
from failwell.drill.subject import Call, Cause, Kind, Settings, Subject
from failwell.engines.base import Connections
from failwell.errors import CallError
from failwell.failure import Effect
from failwell.service import Limit
from failwell_sandbox.server import RunningService, running
from failwell_sandbox.subjects.mortal import Mortal, mortal

# Makes a call with a client.
Make = Callable[[Any, Call], Any]

# Why something of the catalogue cannot happen, where it is so with more than one SDK.
ONE_REQUEST = "it has nothing that is done in several requests"
NO_JOBS = "its SDK waits for no job"
JOBS_ALREADY = "what S54 creates with it is a job already"

# Why a bound of the model is not kept, where a document goes before it.
NAMED_WAITS = "Its document names the waits: all who lost the same server wait as long."
RETRIES_ONLY = (
    "Its document has retries and no circuit: what was tried again while the service was away is answered "
    "before what comes later, so the service is back later than without retries."
)

# One request in an hour: the second is refused, and no client waits that long.
ONCE_AN_HOUR = Limit(1, 3600.0)
# Two at once, then one in three seconds: the third is refused, which a client waits out. Not less: the
# first two have to be over by then, on a busy machine, too.
TWO_IN_SIX = Limit(2, 6.0)
LIMITS = {"once_an_hour": ONCE_AN_HOUR, "two_in_six_seconds": TWO_IN_SIX}

# Seconds a request waits for another one with its key before it gets a 409.
PATIENCE_WITH_TWINS = 0.05
# Seconds a claim is held without news of its holder, and so what a 409 asks to wait at the most.
LEASE = 1.0

# To the service itself, past the proxy.
DIRECT = Connections(trust_env=False)
# For what is not to be tried again, and for what takes longer than a client waits.
ONE_TRY = Settings(attempts=1)
IMPATIENT = Settings(read=2.5)
PATIENT = Settings(attempts=8, read=30.0, deadline=90.0)


class SandboxSubject(Subject):
    """
    An SDK whose service is one of the sandbox's.

    Attributes:
        service: The running service; there is one while `running()` lasts.
    """

    service: RunningService
    is_failwell = True
    _is_mortal = False
    _mortal: Mortal | None = None
    path = ""  # what the SDK's base URL has behind the host

    @contextmanager
    def running(self) -> Iterator[str]:
        """The service, with its demo keys; gives the SDK's base URL."""
        self._new_keys: list[str] = []
        self._twins: list[threading.Thread] = []
        if self._is_mortal:
            with mortal(self.name, wait=PATIENCE_WITH_TWINS, lease=LEASE) as (self.service, self._mortal):
                self._mortal.start()
                yield self.service.url + self.path
            return
        with running((self.name,), wait=PATIENCE_WITH_TWINS, lease=LEASE) as sandbox:
            self.service = sandbox[self.name]
            yield self.service.url + self.path
            for twin in self._twins:  # a service that ends under a request complains
                twin.join(30)

    def apart(self) -> Subject:
        """The same with a service of its own, once that is `running()`."""
        return copy.copy(self)

    def mortal(self) -> Subject | None:
        """The same with a service of its own in a process of its own, once that is `running()`."""
        if os.name != "posix":  # a port is handed down to a process by its number
            return None
        made = copy.copy(self)
        made._is_mortal = True
        return made

    def crash(self, *, at_work: bool) -> None:
        """Kill the service's process, when a request is being worked on if `at_work`; start another."""
        assert self._mortal is not None  # or it is no `mortal()`
        if at_work:
            self._mortal.wait_for_claim()
        self._mortal.kill()
        self._mortal.start()

    @contextmanager
    def mortal_and_busy(self) -> Iterator[None]:
        """The service's process with all threads for long work taken, until it is killed."""
        assert self._mortal is not None
        self._mortal.take_threads()
        yield

    def own_retry(self, call: Make) -> Cause:
        """S56 with `call`, a write whose work needs a thread."""
        return Cause("own-retry", "The first try is still being worked on when the second comes", None, call,
                     kind=Kind.KEYED_WRITE, settings=IMPATIENT, arrange=self.busy, until=409, requests=3,
                     effects=1, proves=("S56",))  # fmt: skip

    def killed_at_work(self, call: Make) -> Cause:
        """S55 and S59 with `call`: the claim that is left behind lapses, and the key is good again."""
        return Cause("killed-at-work", "The service is killed at work, and started again", None, call,
                     kind=Kind.KEYED_WRITE, settings=PATIENT, arrange=self.mortal_and_busy,
                     schedule=once(crash_at_work()), requests=2, at_least=True, effects=1, modes=("sync",),
                     proves=("S55", "S59"))  # fmt: skip

    def out_of_order(self, closed: Cause, write: Make) -> tuple[Cause, ...]:
        """
        A service that takes no work for a while.

        Args:
            closed: What is raised for a 503.
            write: Writes something.
        """
        return (
            replace(closed, name="draining", title="The service is about to end", arrange=self.draining),
            replace(closed, name="locked", title="The service's database is locked", kind=Kind.KEYED_WRITE,
                    call=write, arrange=self.locked),
        )  # fmt: skip

    @staticmethod
    def connections(settings: Settings) -> Connections:
        """How a client connects in a scenario."""
        return Connections(trust_env=False, verify=settings.verify)

    def key(self, name: str) -> str:
        """The API key called `name`: "good", one of `LIMITS`, or one of the demo keys' names."""
        if name in LIMITS:
            made = self.service.new_key(limit=LIMITS[name])
            self._new_keys.append(made)
            return made
        return str(getattr(self.service.keys, "full" if name == "good" else name))

    def secrets(self) -> Sequence[str]:
        """Every key that was handed out."""
        demo = self.service.keys
        return (*(getattr(demo, f.name) for f in fields(demo)), *self._new_keys)

    def ids_of(self, marker: str) -> Sequence[str]:
        """What the ledger holds under the name `marker`."""
        return [row["resource"] for row in self.service.ledger(name=marker)]

    def draining(self) -> AbstractContextManager[object]:
        """The service as it is while its process is about to end."""
        return self.service.draining()

    def locked(self) -> AbstractContextManager[object]:
        """The service while something else, such as a backup, holds its database."""
        return self.service.locked()

    def busy(self) -> AbstractContextManager[object]:
        """The service while other requests have taken every thread for long work: more of it waits."""
        return self.service.busy()

    @contextmanager
    def at_work(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> Iterator[None]:
        """
        A request that is being worked on for as long as the block lasts, however slow the machine is.

        Its work is of the kind that needs a thread, and all of them are taken.

        Args:
            path: Where it goes, by POST.
            body: As the SDK sends it, member by member.
            headers: With the API key and the idempotency key.

        Raises:
            RuntimeError: it was answered, because it needs no thread.
            TimeoutError: the service did not take it up.
        """
        with self.busy():
            self.start_twin(path, body, headers)
            yield

    def start_twin(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """
        Send a request that takes long, in the background, and come back when it is being worked on.

        Raises:
            TimeoutError: the service did not take it up.
            RuntimeError: it was answered at once.
        """
        request = urllib.request.Request(  # noqa: S310 - our own service on loopback
            self.service.url + path,
            json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(),
            {"content-type": "application/json", **headers},
        )
        for earlier in self._twins:  # its claim would end while we count
            earlier.join(30)
        claims, ended = self._claims(), list[str]()
        twin = threading.Thread(target=_carry_out, args=(request, ended), daemon=True)
        self._twins.append(twin)
        twin.start()
        for _ in range(3000):
            if self._claims() > claims:
                return
            if ended:
                raise RuntimeError(f"the first request is over already: {ended[0]}")
            time.sleep(0.01)
        raise TimeoutError("the service did not begin to work on the first request")

    def _claims(self) -> int:
        ((count,),) = self.service.database.read_blocking(
            "SELECT count(*) FROM failwell_idempotency WHERE status IS NULL"
        )
        return int(count)


def bad_keys(refused: Cause, with_key: Callable[[str], Make]) -> tuple[Cause, ...]:
    """
    API keys that let nobody in.

    Args:
        refused: What is raised for a 401; its call is made with a key that was good once.
        with_key: Makes a call whose header with the key has another value.
    """
    known = (("unknown", "Nobody has this API key"), ("revoked", "The API key was revoked"),
             ("expired", "The API key has expired"))  # fmt: skip
    return (
        replace(refused, name="missing-key", title="No API key is sent", call=with_key("")),
        replace(refused, name="malformed-key", title="The API key is nonsense", call=with_key("nonsense")),
        *(replace(refused, name=f"{name}-key", title=title, key=name) for name, title in known),
    )


def limits(limited: Cause) -> tuple[Cause, ...]:
    """A rate limit, once with an hour to wait and once with a second, for the read of `limited`, a 429."""
    read = limited.call
    return (
        replace(limited, name="limit", title="The key's rate limit is reached", key="once_an_hour",
                before=(read,)),
        Cause("limit-waited-out", "The key's rate limit is reached, and open again soon", None,
              read, key="two_in_six_seconds", before=(read, read), requests=2, wait_at_least=1.0,
              proves=("S42",)),
    )  # fmt: skip


def no_time(raises: type[CallError], read: Make) -> Cause:
    """A deadline that is over before anything is sent."""
    return Cause(
        "deadline",
        "The time is over before anything is sent",
        raises,
        read,
        settings=Settings(deadline=0.0),
        requests=0,
        facts=(("effect", Effect.NOT_SENT),),
    )


def during(state: AbstractContextManager[object], call: Callable[[], Any]) -> Any:
    """What `call` brings, made while `state` lasts: at once, or to be awaited, as the client's form is."""
    with ExitStack() as stack:
        stack.enter_context(state)
        value = call()
        if not inspect.isawaitable(value):
            return value
        lasting = stack.pop_all()

    async def awaited() -> Any:
        with lasting:
            return await value

    return awaited()


def exported(module: ModuleType) -> tuple[type[BaseException], ...]:
    """Every exception class that `module` promises in `__all__`."""
    promised = (getattr(module, name) for name in module.__all__)
    return tuple(p for p in promised if isinstance(p, type) and issubclass(p, BaseException))


def is_long(seconds: float | None) -> bool:
    """Whether a wait is that of `ONCE_AN_HOUR`."""
    return seconds is not None and 120 < seconds <= 3660


def _carry_out(request: urllib.request.Request, ended: list[str]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            answer.read()
            ended.append(f"answered {answer.status}")
    except OSError as exc:
        ended.append(str(exc))
