"""
How far an upload is: a bar on standard error, or a function of the caller's.

The bar needs rich: `pip install pictograph[progress]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from failwell.progress import Bar, bar
from pictograph.folders import File, Moved, result_of
from pictograph.models import FileResult
from pictograph.resources import check

if TYPE_CHECKING:
    from failwell.operations.batches import BatchItem


class Told:
    """
    Tells whoever wants to know.

    Args:
        shown: A bar, a function of the caller's, or None.
    """

    def __init__(self, shown: Any) -> None:
        self._shown = shown

    def __call__(self, item: BatchItem[File, FileResult], done: int, total: int | None) -> None:
        """A file is dealt with."""
        if isinstance(self._shown, Bar):
            self._shown(item, done, total)
        elif self._shown is not None:
            self._shown(result_of(item), done, total)

    def moved_of(self, file: File) -> Moved | None:
        """What to call with the bytes of `file` that were sent; None for nothing."""
        return self._shown.moved_of(file.number, file.size) if isinstance(self._shown, Bar) else None


@contextmanager
def told(progress: bool | Callable[[FileResult, int, int], object] | None, size: int) -> Iterator[Told]:
    """
    Whoever is told of an upload, as a context: a bar is taken away at its end.

    Args:
        progress: As for `pictograph.workflows.upload_folder`.
        size: Bytes in all.

    Raises:
        ConfigurationError: a bar is wanted, and rich is not installed.
        PictographTypeError: it is neither True, False, None nor a function.
    """
    with bar(
        progress,
        total=size,
        unit="files",
        size_of=lambda item: item.item.size,
        install="pictograph[progress]",
        check=check,
    ) as shown:
        yield Told(shown)
