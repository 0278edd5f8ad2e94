"""Where the bytes of images, models and exports are: see `stored_files`."""

from __future__ import annotations

from pathlib import Path

from failwell_sandbox import stored_files

KINDS = ("images", "models", "exports")


class Files(stored_files.Files):
    """
    The files of the service, which several of its processes may share.

    Args:
        folder: Where; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, KINDS)
