"""The clients that the drill knows by name, and everybody else's by `module:attribute`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from failwell.drill.anybody.subject import AnybodysClient
from failwell.errors import UsageError

# Where each adapter is.
SHIPPED: Mapping[str, str] = {
    "requests": "requests:Requests",
    "urllib3": "urllib3:Urllib3",
    "httpx2": "httpx2:Httpx2",
    "aiohttp": "aiohttp:Aiohttp",
    "stamina": "stamina:Stamina",
    "openai": "openai:OpenAI",
    "anthropic": "anthropic:Anthropic",
    "stripe": "stripe:Stripe",
    "failwell": "failwell:Failwell",
}


def client_called(
    name: str, *, service: str | None = None, count_effects: Callable[..., int] | None = None
) -> AnybodysClient:
    """
    The client called `name`, or the one whose adapter is at `module:attribute`.

    Args:
        name: One of `SHIPPED`, or where an adapter of your own is: "my.module:call".
        service: As for `AnybodysClient`; not for those that are shipped, which know no other service.
        count_effects: The same.

    Raises:
        UsageError: there is none, its library is not installed, or what is there is no adapter.
    """
    if ":" in name:
        adapter = _at(name)
        arguments = f"--client {name}{'' if service is None else f' --service {service}'}"
        if count_effects is not None:
            arguments += f" --count-effects {count_effects.__module__}:{count_effects.__qualname__}"
        return AnybodysClient(adapter, service=service, count_effects=count_effects, arguments=arguments)
    if name not in SHIPPED:
        raise UsageError(
            f"no client is called {name!r}; there are {', '.join(SHIPPED)}, or give module:attribute"
        )
    if service is not None:
        raise UsageError(
            f"the adapter of {name} talks to the drill's own service; write one for yours, and give it as "
            "module:attribute"
        )
    module, _, attribute = SHIPPED[name].partition(":")
    adapter = getattr(import_module(f"failwell.drill.anybody.adapters.{module}"), attribute)
    if missing := [package for package in adapter.packages if find_spec(package) is None]:
        raise UsageError(f"{name} is not installed: pip install {' '.join(missing)}")
    return AnybodysClient(adapter)


def _at(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as exc:
        raise UsageError(f"cannot load the adapter {name!r}: {exc}") from exc
    if not callable(found):
        raise UsageError(f"{name} cannot be called: an adapter is call(base_url, call) -> result")
    return found  # type: ignore[no-any-return]  # whatever it is, it is called
