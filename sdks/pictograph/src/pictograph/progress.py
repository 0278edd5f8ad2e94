"""
How far an upload is: a bar on standard error, or a function of the caller's.

The bar needs rich: `pip install pictograph[progress]`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pictograph.models import FileResult
from pictograph.resources import check

if TYPE_CHECKING:
    from pictograph.folders import File

# Bytes: the pieces of a smaller file are not worth a word each.
WORTH_PIECES = 4 * 1024 * 1024


class Told:
    """Tells nobody. What tells somebody is derived from it."""

    def moved_of(self, file: File) -> Callable[[int, int | None], object] | None:
        """What to call with the bytes of `file` that were sent; None for nothing."""
        return None

    def done(self, file: File, result: FileResult, done: int) -> None:
        """A file is dealt with."""


class _Function(Told):
    def __init__(self, function: Callable[[FileResult, int, int], object], total: int) -> None:
        self._function, self._total = function, total

    def done(self, file: File, result: FileResult, done: int) -> None:
        self._function(result, done, self._total)


class _Bar(Told):
    def __init__(self, bar: Any, task: Any, total: int) -> None:
        self._bar, self._task, self._total = bar, task, total
        self._moved: dict[int, int] = {}

    def moved_of(self, file: File) -> Callable[[int, int | None], object] | None:
        if file.size < WORTH_PIECES:
            return None

        def moved(sent: int, size: int | None) -> None:
            # A try that follows begins at 0 again, and so does the bar.
            self._bar.advance(self._task, sent - self._moved.get(file.number, 0))
            self._moved[file.number] = sent

        return moved

    def done(self, file: File, result: FileResult, done: int) -> None:
        left = file.size - self._moved.pop(file.number, 0)
        self._bar.update(self._task, advance=left, description=f"{done} of {self._total} files")


@contextmanager
def told(
    progress: bool | Callable[[FileResult, int, int], object] | None, total: int, size: int
) -> Iterator[Told]:
    """
    Whoever is told of an upload, as a context: a bar is taken away at its end.

    Args:
        progress: As for `pictograph.workflows.upload_folder`.
        total: Files.
        size: Bytes in all.

    Raises:
        ConfigurationError: a bar is wanted, and rich is not installed.
        PictographTypeError: it is neither True, False, None nor a function.
    """
    if callable(progress):
        yield _Function(progress, total)
        return
    if progress is not None:
        check.flag("progress", progress)
    has_rich = find_spec("rich") is not None
    if progress and not has_rich:
        raise check.misconfigured("progress=True needs rich: pip install pictograph[progress]")
    if progress is False or not has_rich or (progress is None and not sys.stderr.isatty()):
        yield Told()
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.progress import TransferSpeedColumn as Speed

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        Speed(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield _Bar(bar, bar.add_task(f"0 of {total} files", total=size), total)
