"""
Circuits that processes share by way of Redis: `pip install failwell[redis]`.

    store = RedisCircuits("redis://127.0.0.1/0")
    client = Client("https://api.example", breaker=Breaker(BreakerPolicy(), store=store))

What one process learns about a service, all know within `interval`: a circuit that one opened is open
for all, and among all of them one probes. No call waits for Redis: a thread of the store's own tells
and asks. While Redis cannot be reached, each process goes by what it sees itself.

A circuit is a hash at `prefix` and its scope, which expires by itself:

    until    when the first probe may be made, milliseconds of Redis's own clock
    pause    the pause it is in, milliseconds
    owner    whose the probe is
    lease    until when, unless the owner says that it still probes

A process that was granted the probe keeps that in mind until it makes a call, even if another has
probed meanwhile: one that calls seldom would never probe. So two may, if one of them idled for longer
than a grant lasts.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from failwell.arguments import Arguments
from failwell.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

    from failwell.call.breaker import Circuit, News

_CHECK = Arguments()

# What is known of a circuit that nobody asks about any more goes after so long, milliseconds.
_KEPT = 600_000
# Seconds that Redis may take to answer, and between two tries while it does not.
_PATIENCE = 1.0
_LONGEST_PAUSE = 5.0
# Seconds that a process has to begin the probe it was granted, before another is.
_TO_BEGIN = 2.0

# The first that opens it decides for how long; a probe that is lost with its process is another's when
# its lease is over. Who succeeded closes it, whoever holds the lease by then: the service answers.
_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local key, event, token = KEYS[1], ARGV[1], ARGV[5]
local left, pause, lease = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
local known = redis.call('HMGET', key, 'until', 'pause', 'owner', 'lease')
local opens, owner = tonumber(known[1]), known[3]
local held = owner and tonumber(known[4]) > now
if event == 'close' then
  redis.call('DEL', key)
  return {-1, 0, 0}
end
if (event == 'open' and not opens) or (event == 'reopen' and (not held or owner == token)) then
  opens = now + left
  redis.call('HSET', key, 'until', opens, 'pause', pause)
  redis.call('HDEL', key, 'owner', 'lease')
  owner, held = false, false
elseif event == 'release' and owner == token then
  redis.call('HDEL', key, 'owner', 'lease')
  owner, held = false, false
end
if not opens then
  return {-1, 0, 0}
end
local mine = 0
if (ARGV[4] == 'want' and opens <= now and (not held or owner == token))
    or (ARGV[4] == 'hold' and owner == token) then
  redis.call('HSET', key, 'owner', token, 'lease', now + lease)
  mine = 1
end
redis.call('PEXPIRE', key, math.max(0, opens - now) + tonumber(ARGV[7]))
return {math.max(0, opens - now), tonumber(redis.call('HGET', key, 'pause')), mine}
"""


class RedisCircuits:
    """
    Shares the circuits of a `Breaker` with other processes. Nothing is connected to before the first
    circuit is.

    Args:
        url: Of the Redis database, such as `redis://127.0.0.1:6379/0`.
        prefix: What keys begin with: processes that share circuits have the same.
        interval: Seconds between two looks at what others know. What happens here is told at once.
        lease: Seconds after which the probe of a process that is gone is another's.
        background: Whether a thread looks; without it, whoever calls `sync` does.

    Attributes:
        reachable: Whether Redis answered when it was last asked.

    Raises:
        ConfigurationError: redis-py is not installed, or the URL cannot be used.
        UsageError: a number is out of its range.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "failwell:circuit:",
        interval: float = 0.25,
        lease: float = 10.0,
        background: bool = True,
    ) -> None:
        try:
            import redis
        except ImportError as exc:
            raise ConfigurationError("redis is not installed: pip install failwell[redis]") from exc
        self._redis = redis
        self._url = _CHECK.text("url", url, empty=False)
        self._prefix = _CHECK.text("prefix", prefix)
        self._interval = _CHECK.seconds("interval", interval)
        self._lease = _CHECK.seconds("lease", lease)
        self._background = background
        self._run: Callable[..., Any] | None = self._connected()
        self._circuits: dict[str, weakref.ref[Circuit]] = {}
        self._lock = threading.Lock()
        self._woken = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._token = os.urandom(8).hex()
        _STORES.add(self)
        # Until it has answered once, nobody has to wait for it.
        self.reachable = False

    def __repr__(self) -> str:
        return f"<RedisCircuits {'reachable' if self.reachable else 'not reachable'}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Share nothing any more: each process goes by what it sees itself. Calling twice is harmless."""
        self._closed = True
        self.reachable = False
        self._woken.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(2 * _PATIENCE)

    def join(self, scope: str, circuit: Circuit) -> None:
        """Share `circuit` with those of the same scope."""
        with self._lock:
            self._circuits[scope] = weakref.ref(circuit)
        self.wake()

    def wake(self) -> None:
        """Something has happened, or is wanted: look at once."""
        if self._background and not self._closed:
            self._start()
        self._woken.set()

    def sync(self) -> bool:
        """
        Tell what has happened and take in what others know, once; blocks for as long as that takes.

        Returns:
            Whether Redis could be reached.
        """
        with self._lock:
            found = [(scope, circuit) for scope, ref in self._circuits.items() if (circuit := ref())]
            for scope in self._circuits.keys() - {scope for scope, _ in found}:
                del self._circuits[scope]
        for scope, circuit in found:
            news = circuit.news(time.monotonic())
            try:
                left, pause, mine = self._asked(scope, news)
            except self._redis.RedisError:
                circuit.unsaid(news)
                self.reachable = False
                return False
            circuit.heard(
                news.version, time.monotonic(), None if left < 0 else left / 1000, pause / 1000, bool(mine)
            )
        self.reachable = not self._closed
        return True

    def _asked(self, scope: str, news: News) -> tuple[int, int, int]:
        if self._run is None:
            self._run = self._connected()
        wants = "hold" if news.probing else "want" if news.wants else ""
        left, pause, mine = self._run(
            keys=[self._prefix + scope],
            args=[
                news.event,
                _milliseconds(news.left),
                _milliseconds(news.pause),
                wants,
                self._token,
                _milliseconds(self._lease if news.probing else min(_TO_BEGIN, self._lease)),
                _KEPT,
            ],
        )
        return int(left), int(pause), int(mine)

    def _connected(self) -> Callable[..., Any]:
        redis = self._redis
        try:
            # Its own repeating knows no end in seconds; the next look is a repetition.
            client = redis.Redis.from_url(
                self._url,
                socket_timeout=_PATIENCE,
                socket_connect_timeout=_PATIENCE,
                retry=None,
                retry_on_timeout=False,
            )
        except ValueError as exc:
            raise ConfigurationError(f"the URL of Redis cannot be used: {exc}") from None
        script: Callable[..., Any] = client.register_script(_SCRIPT)
        return script

    def _start(self) -> None:
        """Start the thread, if there is none."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=_look, args=(weakref.ref(self),), daemon=True)
                self._thread.start()

    def _forked(self) -> None:
        """
        This is a child process now: it has no thread, and is another owner. Who held a lock, or a
        connection, is not in it.
        """
        self._lock, self._woken = threading.Lock(), threading.Event()
        self._thread, self._run, self._token = None, None, os.urandom(8).hex()
        for ref in self._circuits.values():
            circuit = ref()
            if circuit is not None:
                circuit.forked()


_STORES: weakref.WeakSet[RedisCircuits] = weakref.WeakSet()


def _forked() -> None:
    for store in list(_STORES):
        store._forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _look(ref: weakref.ref[RedisCircuits]) -> None:
    """Look again and again, as long as somebody has the store."""
    pause = 0.0
    while (store := ref()) is not None and not store._closed:
        # What happens while Redis is away is told when it is back: nobody's calls may make us hurry.
        if pause > store._interval:
            time.sleep(min(pause, _LONGEST_PAUSE))
        reached = store.sync()
        pause = store._interval if reached else min(2 * max(pause, store._interval), _LONGEST_PAUSE)
        woken = store._woken
        del store  # while it waits, it does not keep the store alive
        if reached:
            woken.wait(pause)
            woken.clear()


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)
