"""
Answers that become files: two thin drivers, blocking and awaiting, over the same flow.

What is decided is decided in `failwell.operations.downloads`; here is the file, and who acts on the
effects.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from failwell.call.messages import Sleep
from failwell.client.streaming import AwaitedWhole, Whole
from failwell.errors import ArgumentTypeError, CallError, UsageError
from failwell.operations.downloads import Download, ReadBack, StartOver, Store, download_flow
from failwell.operations.streams import Came, Connect, Read
from failwell.redaction import secrets_in_url

if TYPE_CHECKING:
    from typing import Any, TypeVar

    from failwell.client.caller import AsyncCaller, Caller
    from failwell.operations.downloads import Downloaded

    T = TypeVar("T")

_PIECE_BYTES = 256 * 1024


class PartFile:
    """
    What a file is until it is whole: another one beside it.

    Args:
        download: What is to become of it.

    Raises:
        UsageError: it cannot be written there.

    Attributes:
        path: Where it is.
        found: Whether what an earlier download left is in it.
    """

    def __init__(self, download: Download[Any]) -> None:
        try:
            self._to = Path(download.to)
        except TypeError:
            raise ArgumentTypeError(f"to is a {type(download.to).__name__}; give a path") from None
        if not download.overwrite and os.path.lexists(self._to):
            raise UsageError(f"to: {self._to.name!r} is there already")
        if self._to.is_dir():
            raise UsageError(f"to: {self._to.name!r} is a folder; name a file in it")
        self._overwrite = download.overwrite
        self._back = 0
        left = download.resume or {}
        self.found = False
        self.path = Path(str(left.get("part") or ""))
        try:
            if left.get("part") and self.path.is_file() and self.path.stat().st_size >= left["received"]:
                self._file = open(self.path, "r+b", buffering=0)  # noqa: SIM115  # closed by keep() and drop()
                self._file.truncate(left["received"])
                self._file.seek(0, os.SEEK_END)
                self.found = True
            else:
                self.path = self._to.with_name(f".{self._to.name[:80]}.{os.urandom(6).hex()}.part")
                self._file = open(self.path, "x+b", buffering=0)  # noqa: SIM115  # as above
        except OSError as exc:
            raise UsageError(f"to: {self._to.name!r} cannot be written: {exc.strerror or exc}") from None

    def store(self, piece: bytes) -> None:
        """Add a piece."""
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]

    def start_over(self) -> None:
        """Throw away what is there."""
        self._file.seek(0)
        self._file.truncate()
        self._back = 0

    def read_back(self) -> bytes:
        """The next piece of what is there, from its start."""
        here = self._file.tell()
        self._file.seek(self._back)
        piece = self._file.read(min(_PIECE_BYTES, max(0, here - self._back)))
        self._back += len(piece)
        self._file.seek(here)
        return piece

    def finish(self) -> None:
        """
        Make it the file that was wanted.

        Raises:
            UsageError: there is one by now, and it may not be replaced.
        """
        self._file.close()
        if self._overwrite:
            os.replace(self.path, self._to)
            return
        try:
            os.link(self.path, self._to)
        except FileExistsError:
            self.drop()
            raise UsageError(f"to: {self._to.name!r} is there already") from None
        os.unlink(self.path)

    def keep(self) -> None:
        """Leave it to be gone on with."""
        self._file.close()

    def drop(self) -> None:
        """Leave nothing."""
        self._file.close()
        with suppress(OSError):
            self.path.unlink()

    def ended(self, error: BaseException) -> None:
        """Keep it if `error` says how to go on with it; else leave nothing."""
        failure = error.failure if isinstance(error, CallError) else None
        if failure is not None and failure.details.get("part") == str(self.path):
            self.keep()
        else:
            self.drop()


def _begun(client: Any, download: Download[T], deadline: float | None) -> tuple[PartFile, Any]:
    """The file, and the flow that decides how it is got."""
    setup = client._setup
    try:
        file = PartFile(download)
    except UsageError as exc:
        raise setup.contract.refusal(exc.with_traceback(None)) from None
    if not file.found:
        download = replace(download, resume=None)
    if deadline != download.policy.deadline:
        download = replace(download, policy=replace(download.policy, deadline=max(0.001, deadline or 0.0)))
    now = setup.clock.monotonic()
    return file, download_flow(download, setup.contract, str(file.path), now=now, random=setup.random)


def _ended(setup: Any, file: PartFile, download: Download[T], done: Downloaded) -> T:
    try:
        file.finish()
    except UsageError as exc:
        raise setup.contract.refusal(exc.with_traceback(None)) from None
    return download.result(done)


def fetch(client: Caller, download: Download[T], deadline: float | None) -> T:
    """
    Carry out `download`, blocking.

    Args:
        client: Who asks.
        download: What for.
        deadline: Seconds for all of it; None for no limit.

    Raises:
        CallError: as `download_flow` says.
        UsageError: the file cannot be written.
    """
    setup = client._setup
    file, flow = _begun(client, download, deadline)
    pieces: Any = None
    key: str | None = None
    try:
        effect = next(flow)
        while True:
            facts: dict[str, Any] = {}
            if isinstance(effect, Read):
                assert pieces is not None
                facts["piece"] = pieces.read()
            elif isinstance(effect, Store):
                file.store(effect.piece)
            elif isinstance(effect, ReadBack):
                facts["piece"] = file.read_back()
            elif isinstance(effect, StartOver):
                file.start_over()
            else:
                if pieces is not None:
                    pieces.close()
                    pieces = None
                if isinstance(effect, Sleep):
                    setup.announce(effect)
                    setup.clock.sleep(effect.seconds)
                else:
                    assert isinstance(effect, Connect)
                    try:
                        call, response = client._open(effect, key)
                    except CallError as exc:
                        facts["error"] = exc
                    else:
                        key = key or call.key
                        pieces = Whole(response.content) if response.pieces is None else response.pieces
                        facts["response"] = response
                        facts["secrets"] = call.secrets + secrets_in_url(call.request.url)
            came = Came(setup.clock.monotonic(), **facts)
            try:
                effect = flow.send(came)
            except StopIteration as stop:
                done: Downloaded = stop.value
                break
    except BaseException as exc:
        file.ended(exc)
        raise
    finally:
        flow.close()
        if pieces is not None:
            pieces.close()
    return _ended(setup, file, download, done)


async def afetch(client: AsyncCaller, download: Download[T], deadline: float | None) -> T:
    """As `fetch`, for whoever awaits: what is slow about a file is done in a thread."""
    from anyio.to_thread import run_sync

    setup = client._setup
    file, flow = _begun(client, download, deadline)
    pieces: Any = None
    key: str | None = None
    try:
        effect = next(flow)
        while True:
            facts: dict[str, Any] = {}
            if isinstance(effect, Read):
                assert pieces is not None
                facts["piece"] = await pieces.read()
            elif isinstance(effect, Store):
                await run_sync(file.store, effect.piece)
            elif isinstance(effect, ReadBack):
                facts["piece"] = await run_sync(file.read_back)
            elif isinstance(effect, StartOver):
                file.start_over()
            else:
                if pieces is not None:
                    await pieces.aclose()
                    pieces = None
                if isinstance(effect, Sleep):
                    setup.announce(effect)
                    await setup.clock.asleep(effect.seconds)
                else:
                    assert isinstance(effect, Connect)
                    try:
                        call, response = await client._open(effect, key)
                    except CallError as exc:
                        facts["error"] = exc
                    else:
                        key = key or call.key
                        pieces = (
                            AwaitedWhole(response.content) if response.pieces is None else response.pieces
                        )
                        facts["response"] = response
                        facts["secrets"] = call.secrets + secrets_in_url(call.request.url)
            came = Came(setup.clock.monotonic(), **facts)
            try:
                effect = flow.send(came)
            except StopIteration as stop:
                done: Downloaded = stop.value
                break
    except BaseException as exc:
        file.ended(exc)
        raise
    finally:
        flow.close()
        if pieces is not None:
            await pieces.aclose()
    return _ended(setup, file, download, done)
