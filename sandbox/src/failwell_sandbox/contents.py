"""
The bytes of a stored file as an answer: whole, or one range of them.

Source:
    RFC 9110, sections 13.1.5 and 14; RFC 9530 for the digests.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from failwell.service import Refusal, RefusedRequest
from failwell_sandbox.parameters import digest_field

# What a service that sends ranges adds to its wording.
WORDING = {"range_not_satisfiable": (416, "The file has {size} bytes.")}

# Read and sent at once.
PIECE = 256 * 1024

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))[ \t]*", re.IGNORECASE)


async def content_answer(request: Request, path: Path, media_type: str, sha256: str) -> Response:
    """
    The content of a file, or the range of it that is asked for.

    More than one range, and what is no range of bytes, is ignored, as a server may.

    Args:
        request: Which may have `Range` and `If-Range`.
        path: The file's. It may be deleted while it is sent.
        media_type: Of the content.
        sha256: Of all of it, in hexadecimal.

    Raises:
        FileNotFoundError: it was deleted.
        RefusedRequest: a 416 of `WORDING`: the range begins behind its end.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        tag = f'"{sha256}"'
        wanted = _range(request, tag, size)
        start, end = wanted or (0, size)
        headers = {
            "content-length": str(end - start),
            "accept-ranges": "bytes",
            "etag": tag,
            "repr-digest": digest_field(sha256),
            # What strangers have sent is not to be taken for a page.
            "x-content-type-options": "nosniff",
        }
        if wanted is None:
            headers["content-digest"] = digest_field(sha256)
        else:
            headers["content-range"] = f"bytes {start}-{end - 1}/{size}"
        if request.method == "HEAD":
            os.close(fd)
            return Response(None, 200 if wanted is None else 206, headers, media_type)
        return _Content(fd, start, end, 200 if wanted is None else 206, headers, media_type)
    except BaseException:
        os.close(fd)
        raise


class _Content(StreamingResponse):
    """A stream that lets go of its file, whatever becomes of it."""

    def __init__(
        self, fd: int, start: int, end: int, status: int, headers: dict[str, str], media_type: str
    ) -> None:
        super().__init__(_pieces(fd, start, end), status, headers, media_type)
        self._fd = fd

    async def __call__(self, scope: object, receive: object, send: object) -> None:
        try:
            await super().__call__(scope, receive, send)  # type: ignore[arg-type]  # as Starlette has them
        finally:
            os.close(self._fd)


async def _pieces(fd: int, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        piece = await asyncio.to_thread(os.pread, fd, min(PIECE, end - start), start)
        if not piece:
            raise OSError("a stored file is shorter than it was")
        start += len(piece)
        yield piece


def _range(request: Request, tag: str, size: int) -> tuple[int, int] | None:
    said = request.headers.get("range")
    found = None if said is None else _RANGE.fullmatch(said.strip())
    if found is None or request.headers.get("if-range", tag).strip() != tag:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size
    else:
        start, end = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= end:
        raise RefusedRequest(
            Refusal("range_not_satisfiable", {"size": size}, headers={"content-range": f"bytes */{size}"})
        )
    return start, end
