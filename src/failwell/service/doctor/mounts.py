"""On which kind of file system a file lies, from Linux's table of mounts."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from failwell.service.doctor.findings import advice, unknown, well, wrong

if TYPE_CHECKING:
    from failwell.service.doctor.findings import Finding

MOUNTS = "/proc/self/mountinfo"

# SQLite's WAL needs memory that all its processes share, and locks that are kept: "WAL does not
# work over a network filesystem" (sqlite.org/wal.html).
NETWORK = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "drvfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
     "smb3", "smbfs", "vboxsf", "fuse.vmhgfs-fuse"}
)  # fmt: skip
# Gone with the machine's power, or with the container.
FLEETING = {
    "tmpfs": "in memory: it is gone when the machine stops",
    "ramfs": "in memory: it is gone when the machine stops",
    "overlay": "in a container's own layer: it is gone with the container",
}


def file_system_of(path: str, mountinfo: str) -> str:
    """
    The type of the file system that `path` lies on, such as `ext4`; empty if the table has none.

    Args:
        path: Absolute, without symbolic links.
        mountinfo: The text of `/proc/self/mountinfo`.

    Source:
        proc_pid_mountinfo(5): the fifth field is where it is mounted, the first after the lone
        hyphen is the type; blanks, tabs, newlines and backslashes are octal escapes.
    """
    deepest, kind = "", ""
    for line in mountinfo.splitlines():
        mount, lone, rest = line.partition(" - ")
        fields = mount.split(" ")
        if not lone or len(fields) < 5:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        # Of two mounts at one place, the later hides the earlier.
        if inside and len(point) >= len(deepest):
            deepest, kind = point, rest.split(" ", 1)[0]
    return kind


def read_mounts() -> str | None:
    """Linux's table of mounts; None where there is none."""
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as table:
            return table.read()
    except OSError:
        return None


def file_system(path: str, mountinfo: str | None) -> Finding:
    """Whether SQLite can keep its promises on the file system under `path`."""
    kind = "" if mountinfo is None else file_system_of(os.path.realpath(path), mountinfo)
    if not kind:
        return unknown(
            "file_system",
            "The kind of file system is not known here.",
            "See to it that it is a local disk: SQLite's WAL does not work over a network.",
        )
    move = "Put the file on a local disk; where several machines share it, use PostgreSQL."
    if kind in NETWORK:
        found = f"It is on a network file system ({kind}), where WAL and locks do not hold."
        return wrong("file_system", found, move)
    # sshfs, s3fs, rclone and the like; fuseblk is a disk with a driver outside the kernel.
    if kind == "fuse" or kind.startswith("fuse."):
        found = f"It is behind FUSE ({kind}), where shared memory and locks mostly do not hold."
        return wrong("file_system", found, move)
    if kind in FLEETING:
        return advice(
            "file_system",
            f"It is on {kind}, {FLEETING[kind]}.",
            "Put the file on a disk, or in a container on a volume, if its records are to be found again.",
        )
    return well("file_system", f"It is on {kind}.")
