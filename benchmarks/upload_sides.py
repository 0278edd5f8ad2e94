"""
The sides of the benchmark of uploads: what each does with the files of a turn.

A blocking side is a function of an `ExitStack` for what it opens, and of the service's address and
key; it gives a function that uploads the files of an order and returns how many bytes the service says
it has of them. An awaiting side is the same, awaited.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

PIECE_BYTES = 256 * 1024
TIMEOUT = 60.0


@dataclass
class Order:
    """
    What is to be uploaded in a turn.

    Attributes:
        folder: Where the files are, and nothing else.
        files: Their names.
        at_once: How many of them at once.
        dataset: Where to, if the service is Pictograph.
    """

    folder: str
    files: list[str]
    at_once: int
    dataset: str = ""

    @property
    def paths(self) -> list[Path]:
        return [Path(self.folder, name) for name in self.files]


Upload = Callable[[Order], int]
AsyncUpload = Callable[[Order], Awaitable[int]]


def threads(send: Callable[[Order, Path], int]) -> Upload:
    """As many threads as there are uploads at once."""

    def upload(order: Order) -> int:
        with ThreadPoolExecutor(order.at_once) as workers:
            return sum(workers.map(partial(send, order), order.paths))

    return upload


def tasks(send: Callable[[Order, Path], Awaitable[int]]) -> AsyncUpload:
    """As many tasks as there are uploads at once."""

    async def upload(order: Order) -> int:
        waiting = iter(order.paths)

        async def work() -> int:
            return sum([await send(order, path) for path in waiting])

        return sum(await asyncio.gather(*(work() for _ in range(order.at_once))))

    return upload


# --- the library, and plain httpx2 ---


def failwell(stack: ExitStack, url: str, key: str) -> Upload:
    """Files by their path."""
    import failwell

    client = stack.enter_context(failwell.Client(url, deadline=None))
    return threads(lambda order, path: _count(client.request("POST", "/images", content=path)))


def failwell_digest(stack: ExitStack, url: str, key: str) -> Upload:
    """Files by their path, and their SHA-256 announced."""
    import failwell

    client = stack.enter_context(failwell.Client(url, deadline=None))

    def send(order: Order, path: Path) -> int:
        sent = failwell.Upload(path, digest=True)
        return _count(client.request("POST", "/images", content=sent))

    return threads(send)


def httpx2_read(stack: ExitStack, url: str, key: str) -> Upload:
    """Files read into memory, which is what most scripts do."""
    import httpx2

    client = stack.enter_context(httpx2.Client(base_url=url, timeout=TIMEOUT))
    return threads(lambda order, path: _counted(client.post("/images", content=path.read_bytes())))


def httpx2_opened(stack: ExitStack, url: str, key: str) -> Upload:
    """Opened files, which httpx2 sends in pieces."""
    import httpx2

    client = stack.enter_context(httpx2.Client(base_url=url, timeout=TIMEOUT))

    def send(order: Order, path: Path) -> int:
        with path.open("rb") as file:
            return _counted(client.post("/images", content=file))

    return threads(send)


def httpx2_digest(stack: ExitStack, url: str, key: str) -> Upload:
    """Files read into memory, and their SHA-256 announced."""
    import httpx2

    client = stack.enter_context(httpx2.Client(base_url=url, timeout=TIMEOUT))

    def send(order: Order, path: Path) -> int:
        data = path.read_bytes()
        headers = {"content-digest": digest_of(data)}
        return _counted(client.post("/images", content=data, headers=headers))

    return threads(send)


async def failwell_async(stack: AsyncExitStack, url: str, key: str, engine: str = "httpx") -> AsyncUpload:
    """Files by their path, awaiting."""
    import failwell

    client = await stack.enter_async_context(failwell.AsyncClient(url, deadline=None, engine=engine))

    async def send(order: Order, path: Path) -> int:
        return _count(await client.request("POST", "/images", content=path))

    return tasks(send)


async def failwell_aiohttp(stack: AsyncExitStack, url: str, key: str) -> AsyncUpload:
    """The same over aiohttp."""
    return await failwell_async(stack, url, key, "aiohttp")


async def httpx2_async_read(stack: AsyncExitStack, url: str, key: str) -> AsyncUpload:
    """Files read into memory, awaiting."""
    import httpx2

    client = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=TIMEOUT))

    async def send(order: Order, path: Path) -> int:
        return _counted(await client.post("/images", content=path.read_bytes()))

    return tasks(send)


async def httpx2_async_pieces(stack: AsyncExitStack, url: str, key: str) -> AsyncUpload:
    """Files in pieces, by an asynchronous generator that reads in the event loop."""
    import httpx2

    client = await stack.enter_async_context(httpx2.AsyncClient(base_url=url, timeout=TIMEOUT))

    async def send(order: Order, path: Path) -> int:
        async def pieces() -> AsyncIterator[bytes]:
            with path.open("rb") as file:  # as a script would
                while piece := file.read(PIECE_BYTES):
                    yield piece

        size = {"content-length": str(path.stat().st_size)}  # as a script would
        return _counted(await client.post("/images", content=pieces(), headers=size))

    return tasks(send)


def _counted(answer: Any) -> int:
    return _count(answer.raise_for_status())


def _count(answer: Any) -> int:
    number: int = answer.json()["bytes"]
    return number


def digest_of(data: bytes) -> str:
    return f"sha-256=:{b64encode(sha256(data).digest()).decode()}:"


# --- Pictograph's SDK, and a script that does the same requests ---


def pictograph(stack: ExitStack, url: str, key: str) -> Upload:
    """`client.images.upload`, file by file."""
    from pictograph import Client

    client = stack.enter_context(Client(key, base_url=url))
    return threads(lambda order, path: client.images.upload(order.dataset, path).size)


def pictograph_folder(stack: ExitStack, url: str, key: str) -> Upload:
    """`upload_folder`."""
    from pictograph import Client, upload_folder

    client = stack.enter_context(Client(key, base_url=url))

    def upload(order: Order) -> int:
        results = upload_folder(client, order.dataset, order.folder, concurrency=order.at_once)
        return _uploaded(order, results)

    return upload


def script(stack: ExitStack, url: str, key: str) -> Upload:
    """The requests of the SDK, made with httpx2: the same headers, the same bytes."""
    import httpx2

    client = stack.enter_context(httpx2.Client(base_url=url, timeout=TIMEOUT, headers=_said(key)))

    def send(order: Order, path: Path) -> int:
        data = path.read_bytes()
        return _size(client.post(*_to(order), content=data, **_image(path, data)))

    return threads(send)


async def pictograph_async(stack: AsyncExitStack, url: str, key: str) -> AsyncUpload:
    """`client.images.upload`, file by file, awaiting."""
    from pictograph import AsyncClient

    client = await stack.enter_async_context(AsyncClient(key, base_url=url))

    async def send(order: Order, path: Path) -> int:
        return (await client.images.upload(order.dataset, path)).size

    return tasks(send)


async def pictograph_async_folder(
    stack: AsyncExitStack, url: str, key: str, engine: str = "httpx"
) -> AsyncUpload:
    """`upload_folder_async`."""
    from pictograph import AsyncClient, upload_folder_async

    client = await stack.enter_async_context(AsyncClient(key, base_url=url, engine=engine))

    async def upload(order: Order) -> int:
        results = await upload_folder_async(client, order.dataset, order.folder, concurrency=order.at_once)
        return _uploaded(order, results)

    return upload


async def pictograph_aiohttp_folder(stack: AsyncExitStack, url: str, key: str) -> AsyncUpload:
    """The same over aiohttp."""
    return await pictograph_async_folder(stack, url, key, "aiohttp")


async def script_async(stack: AsyncExitStack, url: str, key: str) -> AsyncUpload:
    """The requests of the SDK, made with httpx2, awaiting."""
    import httpx2

    client = await stack.enter_async_context(
        httpx2.AsyncClient(base_url=url, timeout=TIMEOUT, headers=_said(key))
    )

    async def send(order: Order, path: Path) -> int:
        data = path.read_bytes()
        return _size(await client.post(*_to(order), content=data, **_image(path, data)))

    return tasks(send)


def _said(key: str) -> dict[str, str]:
    """What the script says with every request."""
    from failwell.settings import user_agent
    from pictograph import __version__

    return {"authorization": f"Bearer {key}", "user-agent": user_agent("pictograph", __version__)}


def _to(order: Order) -> tuple[str]:
    return (f"/v1/datasets/{order.dataset}/images",)


def _image(path: Path, data: bytes) -> dict[str, Any]:
    """Name, digest and key of an image, as the SDK sends them."""
    headers = {
        "content-type": "application/octet-stream",
        "content-digest": digest_of(data),
        "idempotency-key": uuid4().hex,
    }
    return {"params": {"name": path.name}, "headers": headers}


def _size(answer: Any) -> int:
    number: int = answer.raise_for_status().json()["size"]
    return number


def _uploaded(order: Order, results: list[Any]) -> int:
    """Bytes of the files that the SDK says it uploaded."""
    return sum(Path(order.folder, each.path).stat().st_size for each in results if each.status == "uploaded")


BLOCKING = {
    "failwell": failwell,
    "failwell, digest": failwell_digest,
    "httpx2": httpx2_read,
    "httpx2, opened file": httpx2_opened,
    "httpx2, digest": httpx2_digest,
    "Client, upload_folder": pictograph_folder,
    "Client, images.upload": pictograph,
    "httpx2 script": script,
}
AWAITING = {
    "failwell, async": failwell_async,
    "failwell, async, aiohttp": failwell_aiohttp,
    "httpx2, async": httpx2_async_read,
    "httpx2, async, in pieces": httpx2_async_pieces,
    "AsyncClient, upload_folder_async": pictograph_async_folder,
    "AsyncClient, upload_folder_async, aiohttp": pictograph_aiohttp_folder,
    "AsyncClient, images.upload": pictograph_async,
    "httpx2 script, async": script_async,
}
