"""
What an SDK's client is told when it is made: a key, an address, how long and how often.

    key = api_key(given, variable="SHOP_API_KEY", pattern=KEY, rule="those start with shop_", check=check)
    url = setting("base_url", given, variable="SHOP_BASE_URL", default="https://api.shop.example")

Each value is the argument, else what the environment says, else the default. What cannot be used
is refused by `check`, with the SDK's own classes, and no refusal repeats a key.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

from failwell.arguments import Arguments
from failwell.call.messages import Timeouts
from failwell.redaction import Secret

if TYPE_CHECKING:
    import re
    from collections.abc import Mapping

CHECK = Arguments()

# Whoever waits longer for a connection than for an answer waits for a host that is not there.
CONNECT_LIMIT = 5.0


def setting(
    name: str,
    given: object,
    *,
    variable: str,
    default: str | None = None,
    called: str | None = None,
    check: Arguments = CHECK,
    environ: Mapping[str, str] | None = None,
) -> str:
    """
    A setting that is a string: the argument, else the environment's, else the default.

    Args:
        name: The argument.
        given: What was passed; None for nothing.
        variable: The environment variable. An empty one counts as unset.
        default: None if there is none: then one of the two has to be given.
        called: What a refusal calls it: "API key".
        check: Says what is raised.
        environ: Environment variables; the process's own by default.

    Raises:
        ArgumentTypeError: (or the SDK's own) it is no string.
        ConfigurationError: (or the SDK's own) it is nowhere, or empty.
    """
    if given is not None:
        if not check.text(name, given):
            raise check.misconfigured(f"{name} is empty; leave it out to have it looked up")
        assert isinstance(given, str)
        return given
    found = (os.environ if environ is None else environ).get(variable) or default
    if not found:
        raise check.misconfigured(f"no {called or name}: pass {name} or set {variable}")
    return found


def api_key(
    given: object,
    *,
    variable: str,
    pattern: re.Pattern[str] | None = None,
    rule: str = "",
    called: str = "an API key of this service",
    check: Arguments = CHECK,
    environ: Mapping[str, str] | None = None,
) -> Secret:
    """
    The API key to send: the argument, else the environment's. It prints as a mask.

    Args:
        given: What was passed; None for nothing.
        variable: The environment variable.
        pattern: What all of a key has to match; None for any that can be sent.
        rule: The same for a person: "those start with sk_".
        called: What it does not look like then: "a Shop API key".
        check: Says what is raised.
        environ: Environment variables; the process's own by default.

    Raises:
        ArgumentTypeError: (or the SDK's own) it is no string.
        ConfigurationError: (or the SDK's own) there is none, or it cannot be one. The key is not
            repeated.
    """
    given = masked(given)
    source = variable if given is None else "api_key"
    key = Secret(setting("api_key", given, variable=variable, called="API key", check=check, environ=environ))
    if pattern is not None and not pattern.fullmatch(key):
        told = f": {rule}" if rule else ""
        raise check.misconfigured(
            f"{source} does not look like {called}{told}; this one has {len(key)} characters in all"
        )
    return sendable(key, source, check=check)


def sendable(key: Secret, source: str, *, check: Arguments = CHECK) -> Secret:
    """
    `key`, if a header can carry it.

    Args:
        key: The API key.
        source: Where it is from, for the refusal: "KNEO_API_KEY".
        check: Says what is raised.

    Raises:
        ConfigurationError: (or the SDK's own) it holds a space, a line break or a letter outside
            ASCII. The key is not repeated: it may be a good one with a line break behind it.
    """
    if all("\x21" <= c <= "\x7e" for c in key):
        return key
    raise check.misconfigured(
        f"the API key from {source} has characters that cannot be sent, such as a space, "
        "a line break or a letter outside ASCII"
    )


def masked(value: Any) -> Any:
    """`value` with every string in it printing as a mask, through lists and tables."""
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, dict):
        return {name: masked(inner) for name, inner in value.items()}
    return [masked(inner) for inner in value] if isinstance(value, list) else value


def timeouts(timeout: object, *, check: Arguments = CHECK) -> Timeouts:
    """
    The waits within an attempt, from one number of seconds; connecting has at most 5 of them.

    Raises:
        ArgumentTypeError: (or the SDK's own) it is no number.
        UsageError: (or the SDK's own) it is not above 0.
    """
    seconds = check.seconds("timeout", timeout)
    return Timeouts(connect=min(CONNECT_LIMIT, seconds), read=seconds, write=seconds, pool=seconds)


def max_attempts(max_retries: object, *, counts_first: bool = False, check: Arguments = CHECK) -> int:
    """
    How often a call is tried, from what an SDK calls `max_retries`.

    Args:
        max_retries: 0 for a single try.
        counts_first: Whether the SDK's document counts the first try, too; then it is 1 or more.
        check: Says what is raised.

    Raises:
        ArgumentTypeError: (or the SDK's own) it is no int.
        UsageError: (or the SDK's own) it is out of its range.
    """
    tries = check.whole("max_retries", max_retries, least=1 if counts_first else 0, most=1000)
    return tries if counts_first else tries + 1


def user_agent(name: str, version: str) -> str:
    """What an SDK calls itself: "kneo-client/0.1.0 python/3.11.2"."""
    return f"{name}/{version} python/{platform.python_version()}"
