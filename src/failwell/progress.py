"""
How far long work is: a bar on standard error where a person watches, or a function of the caller's.

    with bar(progress, total=len(paths), unit="files", install="shop[progress]") as tell:
        result = client.perform(Batch(paths, send, progress=tell))

The bar needs rich.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from failwell.arguments import Arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

_CHECK = Arguments()

# Bytes: the pieces of a smaller upload are not worth a word each.
WORTH_PIECES = 4 * 1024 * 1024


class Bar:
    """
    A bar, to be given to `Batch(progress=...)` or `PartUpload(progress=...)`.

    Args:
        bar: Of rich.
        total: How many there are, or bytes in all; None if that is not known.
        unit: What is counted.
        size_of: The bytes of an item of a batch, for a bar that shows bytes; None for one that counts.
    """

    def __init__(
        self, bar: Any, total: int | None, unit: str, size_of: Callable[[Any], int] | None = None
    ) -> None:
        self._bar = bar
        self._unit = unit
        self._size_of = size_of
        self._moved: dict[Hashable, int] = {}
        self._task = bar.add_task(unit, total=total)

    def __call__(self, *told: Any) -> None:
        """An item of a batch has ended, or so many bytes of so many were sent."""
        if len(told) == 2:
            sent, size = told
            self._bar.update(self._task, completed=sent, total=size)
            return
        item, done, total = told
        of = f" of {total:,}" if total is not None else ""
        advance = 1
        if self._size_of is not None:
            advance = self._size_of(item) - self._moved.pop(item.number, 0)
        self._bar.update(self._task, advance=advance, description=f"{done:,}{of} {self._unit}")

    def moved_of(self, number: Hashable, size: int | None) -> Callable[[int, int | None], object] | None:
        """
        What is to be called with the bytes of one item that were sent; None if it is not worth it.

        Args:
            number: Which item, as in `BatchItem.number`.
            size: Its bytes; None if that is not known.
        """
        if self._size_of is None or (size is not None and size < WORTH_PIECES):
            return None

        def moved(sent: int, size: int | None) -> None:
            # A try that follows begins at 0 again, and so does the bar.
            self._bar.advance(self._task, sent - self._moved.get(number, 0))
            self._moved[number] = sent

        return moved


@contextmanager
def bar(
    progress: bool | Callable[..., object] | None,
    *,
    total: int | None,
    unit: str = "items",
    size_of: Callable[[Any], int] | None = None,
    install: str = "failwell[cli]",
    check: Arguments = _CHECK,
) -> Iterator[Any]:
    """
    Whoever is told how far something is, as a context: a bar is taken away at its end.

    Args:
        progress: True for a bar, False for none; None for one where a person watches. A function is told
            instead.
        total: How many there are; bytes in all, if bytes are shown; None if that is not known.
        unit: What is counted, such as "files"; "bytes" shows sizes and speed.
        size_of: The bytes of an item of a batch: the bar of items shows bytes, then.
        install: What brings rich, for the message that says that it is missing.
        check: Whose classes refuse what cannot be used.

    Returns:
        As a context: the function, a `Bar`, or None.

    Raises:
        ConfigurationError: a bar is wanted, and rich is not installed.
        ArgumentTypeError: `progress` is neither True, False, None nor a function.
    """
    if callable(progress):
        yield progress
        return
    if progress is not None:
        check.flag("progress", progress)
    has_rich = find_spec("rich") is not None
    if progress and not has_rich:
        raise check.misconfigured(f"progress=True needs rich: pip install {install}")
    if progress is False or not has_rich or (progress is None and not sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    shows_bytes = unit == "bytes" or size_of is not None
    counted: list[Any] = [DownloadColumn(), TransferSpeedColumn()] if shows_bytes else [MofNCompleteColumn()]
    columns = (TextColumn("{task.description}"), BarColumn(), *counted, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        yield Bar(shown, total, unit, size_of)
