"""
How APIs spell an error body: one file for each spelling, both ways, and the general rule for the rest.

`read` says what any answer's body says. Each dialect is an object with `read` and `write`, loaded
on first use: `failwell.dialects.PROBLEM`, `DIALECTS["problem"]`.
"""

from __future__ import annotations

from importlib import import_module

from failwell.dialects.body import parse
from failwell.dialects.reader import said_by

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.dialects.base import Dialect, Said


def read(answer: Answer, known: Dialect | None = None) -> Said:
    """
    What the body of `answer` says.

    Args:
        answer: Any answer; its body may be anything.
        known: The dialect the service is known to speak. Tried first; a proxy in front of the
            service speaks its own, so the others are tried, too.

    Returns:
        What was found. Never raises. `meaning` is set for an answer whose status is a success
        and whose body is nothing but an error.
    """
    return said_by(answer, parse(answer), known)


# Each loaded on first use: decoding needs none of those it does not meet.
_HOMES = {
    "problem": "PROBLEM", "fastapi": "FASTAPI", "google": "GOOGLE", "jsonapi": "JSONAPI", "oauth": "OAUTH",
    "odata": "ODATA", "graphql": "GRAPHQL", "jsonrpc": "JSONRPC", "aws": "AWS", "aws_xml": "AWS_XML",
    "soap": "SOAP",
    "xmlrpc": "XMLRPC", "spring": "SPRING", "drf": "DRF", "laravel": "LARAVEL", "rails": "RAILS",
    "envelope": "ENVELOPE", "flat": "FLAT", "text": "TEXT",
}  # fmt: skip
_MODULES = {"aws_xml": "aws", "flat": "envelope"}

if TYPE_CHECKING:
    from failwell.dialects.aws import AWS as AWS
    from failwell.dialects.aws import AWS_XML as AWS_XML
    from failwell.dialects.drf import DRF as DRF
    from failwell.dialects.envelope import ENVELOPE as ENVELOPE
    from failwell.dialects.envelope import FLAT as FLAT
    from failwell.dialects.fastapi import FASTAPI as FASTAPI
    from failwell.dialects.google import GOOGLE as GOOGLE
    from failwell.dialects.graphql import GRAPHQL as GRAPHQL
    from failwell.dialects.jsonapi import JSONAPI as JSONAPI
    from failwell.dialects.jsonrpc import JSONRPC as JSONRPC
    from failwell.dialects.laravel import LARAVEL as LARAVEL
    from failwell.dialects.oauth import OAUTH as OAUTH
    from failwell.dialects.odata import ODATA as ODATA
    from failwell.dialects.problem import PROBLEM as PROBLEM
    from failwell.dialects.rails import RAILS as RAILS
    from failwell.dialects.soap import SOAP as SOAP
    from failwell.dialects.spring import SPRING as SPRING
    from failwell.dialects.text import TEXT as TEXT
    from failwell.dialects.xmlrpc import XMLRPC as XMLRPC

    DIALECTS: dict[str, Dialect]


def __getattr__(name: str) -> Any:
    if name == "DIALECTS":
        found: Any = {key: __getattr__(attribute) for key, attribute in _HOMES.items()}
    else:
        key = name.lower()
        if _HOMES.get(key) != name:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        found = getattr(import_module(f"{__name__}.{_MODULES.get(key, key)}"), name)
    globals()[name] = found
    return found
