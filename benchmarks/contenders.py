"""
The libraries that are compared, each making the same call: a JSON POST with an idempotency key.

    python benchmarks/contenders.py NAME URL [--cpu N]

imports that one library, makes its client as its documentation shows, and then reads numbers of
calls from standard input, one a line, each answered with `{"wall": seconds, "cpu": seconds}`.
One process a library: none pays for what another imported, patched or left on the heap.

Every call takes a dict, sends it as JSON with a fresh key, checks the status and gives back the
answer as Python objects. What a library does of that by itself is left to it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

from machine import forget_proxies, pin

Call = Callable[[], Any]
AsyncCall = Callable[[], Awaitable[Any]]

BODY: dict[str, Any] = {"name": "lamp", "count": 3, "tags": ["a", "b"], "live": True}
TOKEN = "Bearer benchmark-token"
AT_ONCE = 64


def _key() -> str:
    return os.urandom(16).hex()


def failwell_sync(url: str, engine: str = "httpx") -> Call:
    import failwell

    client = failwell.Client(url, breaker=True, credentials={"authorization": TOKEN}, engine=engine)
    return lambda: client.request("POST", "/things", json=BODY).json()


def failwell_async(url: str, engine: str = "httpx") -> AsyncCall:
    import failwell

    client = failwell.AsyncClient(url, breaker=True, credentials={"authorization": TOKEN}, engine=engine)

    async def call() -> Any:
        return (await client.request("POST", "/things", json=BODY)).json()

    return call


def failwell_pyreqwest(url: str) -> Call:
    return failwell_sync(url, "pyreqwest")


def failwell_pyreqwest_async(url: str) -> AsyncCall:
    return failwell_async(url, "pyreqwest")


def failwell_aiohttp(url: str) -> AsyncCall:
    return failwell_async(url, "aiohttp")


def bare_httpx2(url: str) -> Call:
    import httpx2

    client = httpx2.Client(base_url=url, headers={"authorization": TOKEN})

    def call() -> Any:
        answer = client.post("/things", json=BODY, headers={"idempotency-key": _key()})
        answer.raise_for_status()
        return answer.json()

    return call


def bare_httpx2_async(url: str) -> AsyncCall:
    import httpx2

    client = httpx2.AsyncClient(base_url=url, headers={"authorization": TOKEN})

    async def call() -> Any:
        answer = await client.post("/things", json=BODY, headers={"idempotency-key": _key()})
        answer.raise_for_status()
        return answer.json()

    return call


def bare_aiohttp(url: str) -> AsyncCall:
    import aiohttp

    session = aiohttp.ClientSession(url, headers={"authorization": TOKEN})

    async def call() -> Any:
        async with session.post("/things", json=BODY, headers={"idempotency-key": _key()}) as answer:
            answer.raise_for_status()
            return await answer.json()

    return call


def bare_pyreqwest(url: str) -> Call:
    from pyreqwest.client import SyncClientBuilder

    client = SyncClientBuilder().base_url(url).default_headers({"authorization": TOKEN}).build()

    def call() -> Any:
        request = client.post("/things").header("idempotency-key", _key()).body_json(BODY).build()
        answer = request.send()
        answer.error_for_status()
        return answer.json()

    return call


def bare_pyreqwest_async(url: str) -> AsyncCall:
    from pyreqwest.client import ClientBuilder

    client = ClientBuilder().base_url(url).default_headers({"authorization": TOKEN}).build()

    async def call() -> Any:
        request = client.post("/things").header("idempotency-key", _key()).body_json(BODY).build()
        answer = await request.send()
        answer.error_for_status()
        return await answer.json()

    return call


# The peers are imported by name: they are not installed where this file is type-checked.


def openai_sync(url: str) -> Call:
    openai: Any = import_module("openai")
    client = openai.OpenAI(base_url=url, api_key="benchmark")
    # Its generic call sends no key by itself; with one, the service sees the same request.
    return lambda: client.post(
        "/things", cast_to=object, body=BODY, options={"headers": {"Idempotency-Key": _key()}}
    )


def openai_async(url: str, http_client: Any = None) -> AsyncCall:
    openai: Any = import_module("openai")
    client = openai.AsyncOpenAI(base_url=url, api_key="benchmark", http_client=http_client)
    return lambda: client.post(
        "/things", cast_to=object, body=BODY, options={"headers": {"Idempotency-Key": _key()}}
    )


def openai_aiohttp(url: str) -> AsyncCall:
    openai: Any = import_module("openai")
    return openai_async(url, openai.DefaultAioHttpClient())


def anthropic_sync(url: str) -> Call:
    anthropic: Any = import_module("anthropic")
    client = anthropic.Anthropic(base_url=url, api_key="benchmark")
    return lambda: client.post(
        "/things", cast_to=object, body=BODY, options={"headers": {"Idempotency-Key": _key()}}
    )


def azure_core(url: str) -> Call:
    core: Any = import_module("azure.core")
    policies: Any = import_module("azure.core.pipeline.policies")
    rest: Any = import_module("azure.core.rest")
    # The policies that every generated Azure client is made with.
    config = import_module("azure.core.configuration").Configuration()
    config.headers_policy = policies.HeadersPolicy({"authorization": TOKEN})
    config.user_agent_policy = policies.UserAgentPolicy()
    config.proxy_policy = policies.ProxyPolicy()
    config.redirect_policy = policies.RedirectPolicy()
    config.retry_policy = policies.RetryPolicy()
    config.custom_hook_policy = policies.CustomHookPolicy()
    config.logging_policy = policies.NetworkTraceLoggingPolicy()
    client = core.PipelineClient(url, config=config)

    def call() -> Any:
        request = rest.HttpRequest("POST", url + "/things", json=BODY, headers={"idempotency-key": _key()})
        answer = client.send_request(request)
        answer.raise_for_status()
        return answer.json()

    return call


def stripe(url: str) -> Call:
    library: Any = import_module("stripe")
    client = library.StripeClient("sk_test_benchmark", base_addresses={"api": url})
    # It encodes its body as a form, and makes a key by itself.
    return lambda: client.raw_request("post", "/v1/things", name="lamp", count=3, tags=["a", "b"], live=True)


def botocore(url: str) -> Call:
    session: Any = import_module("botocore.session").get_session()
    client = session.create_client(
        "dynamodb",
        region_name="eu-central-1",
        endpoint_url=url,
        aws_access_key_id="AKIDBENCHMARK",
        aws_secret_access_key="benchmark",
    )
    # AWS has no idempotency header; where an operation knows a token, it is a member of the body.
    item = {
        "name": {"S": "lamp"},
        "count": {"N": "3"},
        "tags": {"L": [{"S": "a"}, {"S": "b"}]},
        "live": {"BOOL": True},
    }
    return lambda: client.put_item(TableName="things", Item=item)


SYNC: dict[str, Callable[[str], Call]] = {
    "failwell, httpx": failwell_sync,
    "failwell, pyreqwest": failwell_pyreqwest,
    "httpx2.Client": bare_httpx2,
    "pyreqwest": bare_pyreqwest,
    "openai": openai_sync,
    "anthropic": anthropic_sync,
    "azure-core": azure_core,
    "stripe": stripe,
    "botocore": botocore,
}
ASYNC: dict[str, Callable[[str], AsyncCall]] = {
    "failwell async, httpx": failwell_async,
    "failwell async, aiohttp": failwell_aiohttp,
    "failwell async, pyreqwest": failwell_pyreqwest_async,
    "httpx2.AsyncClient": bare_httpx2_async,
    "aiohttp": bare_aiohttp,
    "pyreqwest async": bare_pyreqwest_async,
    "openai async": openai_async,
    "openai async, aiohttp": openai_aiohttp,
}
PEERS = frozenset(
    {
        "openai",
        "anthropic",
        "azure-core",
        "stripe",
        "botocore",
        "openai async",
        "openai async, aiohttp",
    }
)


def _told(calls: int, wall: float, cpu: float) -> None:
    print(json.dumps({"wall": wall / calls, "cpu": cpu / calls}), flush=True)


def work(call: Call) -> None:
    """Make calls one after the other, as many as each line of standard input says."""
    for line in sys.stdin:
        calls = int(line)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            call()
        _told(calls, time.perf_counter() - wall, time.process_time() - cpu)
    _end()


def _end() -> None:
    # Clients are not closed: what that costs is not measured.
    sys.stdout.flush()
    os._exit(0)


async def work_async(prepare: Callable[[str], AsyncCall], url: str) -> None:
    """The same with `AT_ONCE` calls at once."""
    call = prepare(url)

    async def lane(calls: int) -> None:
        for _ in range(calls):
            await call()

    for line in sys.stdin:  # nothing else runs in this loop between two rounds
        calls = max(1, int(line) // AT_ONCE)
        wall, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(lane(calls) for _ in range(AT_ONCE)))
        _told(calls * AT_ONCE, time.perf_counter() - wall, time.process_time() - cpu)
    _end()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[*SYNC, *ASYNC])
    parser.add_argument("url")
    parser.add_argument("--cpu", type=int, default=None, help="the core to stay on")
    given = parser.parse_args()
    pin(given.cpu)
    forget_proxies()
    if given.name in SYNC:
        work(SYNC[given.name](given.url))
    else:
        asyncio.run(work_async(ASYNC[given.name], given.url))


if __name__ == "__main__":
    main()
