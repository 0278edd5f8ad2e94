"""
Copy files from and to folders and buckets, by fsspec, and list them.

Only the process of a job imports this: it needs fsspec, and s3fs for S3. It reaches this machine and
the hosts that are allowed, and no other, whatever an answer redirects it to.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]  # it has no types

from failwell_sandbox.child_work import Say, TaskError
from failwell_sandbox.scopix.places import below, is_allowed, is_path

# Copied at once.
PIECE = 1024 * 1024

CONNECT_SECONDS, READ_SECONDS = 5, 30


def copy_or_list(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """
    Do what a task asks of a place.

    Raises:
        TaskError: the place cannot be used.
    """
    place = task["place"]
    _stay_here(frozenset(place.get("allowed", ())))
    try:
        there = _S3(place) if place["provider"] == "s3" else _Folder(place)
        match task["kind"]:
            case "list":
                return {"files": there.listed(task["most"])}
            case "fetch":
                work: Callable[[Any], dict[str, Any]] = there.fetch
            case _:
                work = there.put
        for file in task["files"]:
            say({"file": file["path"], **_outcome(work, file)})
    except ModuleNotFoundError as exc:
        message = f"{exc.name} is not installed: pip install failwell-sandbox[scopix]"
        raise TaskError("not_installed", message) from exc
    return {}


def _outcome(work: Callable[[Any], dict[str, Any]], file: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return work(file)
    except TaskError as exc:
        return {"error": str(exc)}
    except Exception as exc:  # noqa: BLE001  # storage fails in as many ways as there are storages
        return {"error": _said(exc)}


def _said(exc: BaseException) -> str:
    """What a failure of a storage is called. Its words may hold what nobody is to see."""
    if isinstance(exc, FileNotFoundError):
        return "There is no such file."
    if isinstance(exc, PermissionError):
        return "The storage does not allow it."
    return f"The storage failed: {type(exc).__name__}."


def _stay_here(allowed: frozenset[str]) -> None:
    """Let nothing in this process connect to, or ask for the address of, a host that is not allowed."""
    # What the allowed names stand for now, and not what an answer says later.
    addresses = {"127.0.0.1", "::1"}
    for name in allowed:
        with suppress(OSError):
            addresses |= {str(found[4][0]) for found in socket.getaddrinfo(name, None)}

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.getaddrinfo":
            host = arguments[0].decode() if isinstance(arguments[0], bytes) else arguments[0]
            if host is not None and not is_allowed(host, allowed):
                raise PermissionError(f"{host} is not on this machine")
        elif event == "socket.connect":
            address = arguments[1]
            host = address[0] if isinstance(address, tuple) else None
            if host not in addresses and not is_allowed(host, ()):
                raise PermissionError(f"{host} is not on this machine")

    sys.addaudithook(hook)


class _Folder:
    """A folder of this machine."""

    def __init__(self, place: Mapping[str, Any]) -> None:
        self._files = fsspec.filesystem("file", auto_mkdir=True, skip_instance_cache=True)
        base = Path(place["root"])
        root = below(base, place["path"]) if place["path"] else base
        if root is None:
            raise TaskError("outside", "The folder leads out of what is the account's.")
        self._root = root

    def listed(self, most: int) -> list[dict[str, Any]]:
        if not self._root.is_dir():
            raise TaskError("not_found", "There is no such folder.")
        return sorted(self._found(most), key=lambda each: str(each["path"]))

    def _found(self, most: int) -> Iterator[dict[str, Any]]:
        left = most
        for folder, _, names in os.walk(self._root):
            for name in names:
                path = Path(folder, name)
                relative = path.relative_to(self._root).as_posix()
                if not is_path(relative) or below(self._root, relative) != path or not path.is_file():
                    continue
                if left == 0:
                    raise TaskError("too_many", f"There are more than {most} files.")
                left -= 1
                stat = path.stat()
                version = f"{stat.st_size}-{stat.st_mtime_ns}"
                yield {"path": relative, "size": stat.st_size, "version": version}

    def fetch(self, file: Mapping[str, Any]) -> dict[str, Any]:
        path = self._at(file["path"])
        # An entry that is no file, such as a pipe, would be waited for.
        if not path.is_file():
            raise TaskError("not_found", "There is no such file.")
        with self._files.open(str(path), "rb") as opened:
            return _copied(opened, file)

    def put(self, file: Mapping[str, Any]) -> dict[str, Any]:
        path = self._at(file["path"])
        beside = path.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with open(file["from"], "rb") as source, self._files.open(str(beside), "wb") as target:
                for piece in _pieces(source):
                    target.write(piece)
            # Half a file is never seen under its name.
            self._files.mv(str(beside), str(path))
        finally:
            with suppress(FileNotFoundError):
                beside.unlink()
        return {"size": int(self._files.size(str(path)))}

    def _at(self, path: str) -> Path:
        found = below(self._root, path) if is_path(path) else None
        if found is None:
            raise TaskError("outside", "The path leads out of what is the account's.")
        return found


class _S3:
    """A bucket, or what begins with a prefix in it."""

    def __init__(self, place: Mapping[str, Any]) -> None:
        key = place.get("access_key_id")
        self._files = fsspec.filesystem(
            "s3",
            anon=not key,
            key=key,
            secret=place.get("secret_access_key"),
            token=place.get("session_token"),
            client_kwargs={
                "endpoint_url": place["endpoint_url"],
                "region_name": place.get("region") or "us-east-1",
            },
            config_kwargs={
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": READ_SECONDS,
                "retries": {"max_attempts": 1},
                "s3": {"addressing_style": "path"},
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        prefix = (place.get("prefix") or "").strip("/")
        self._root = place["bucket"] + (f"/{prefix}" if prefix else "")

    def listed(self, most: int) -> list[dict[str, Any]]:
        try:
            there = self._files.find(self._root, detail=True)
        except FileNotFoundError as exc:
            raise TaskError("not_found", "There is no such bucket.") from exc
        except PermissionError as exc:
            raise TaskError("refused", "The storage refuses the keys of the connection.") from exc
        except Exception as exc:
            raise TaskError("unreachable", _said(exc)) from exc
        if len(there) > most:
            raise TaskError("too_many", f"There are more than {most} files.")
        found = [
            {
                "path": path.removeprefix(f"{self._root}/"), "size": int(info["size"]),
                "version": str(info.get("ETag") or info["size"]),
            }
            for path, info in there.items()
        ]  # fmt: skip
        return sorted((each for each in found if is_path(each["path"])), key=lambda each: str(each["path"]))

    def fetch(self, file: Mapping[str, Any]) -> dict[str, Any]:
        with self._files.open(self._at(file["path"]), "rb", cache_type="readahead") as opened:
            return _copied(opened, file)

    def put(self, file: Mapping[str, Any]) -> dict[str, Any]:
        path = self._at(file["path"])
        self._files.put_file(file["from"], path)
        return {"size": int(self._files.info(path, refresh=True)["size"])}

    def _at(self, path: str) -> str:
        if not is_path(path):
            raise TaskError("outside", "This is no path.")
        return f"{self._root}/{path}"


def _copied(opened: Any, file: Mapping[str, Any]) -> dict[str, Any]:
    size, digest = 0, hashlib.sha256()
    with open(file["to"], "wb") as target:
        for piece in _pieces(opened):
            size += len(piece)
            if size > file["most"]:
                raise TaskError("too_large", f"The file is larger than {file['most']} bytes.")
            digest.update(piece)
            target.write(piece)
    return {"size": size, "sha256": digest.hexdigest()}


def _pieces(opened: Any) -> Iterator[bytes]:
    while piece := opened.read(PIECE):
        yield piece
