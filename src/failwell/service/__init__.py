"""
The half that runs the API: one contract, and the service answers with exactly its errors.

`install` puts an application behind the gates: request id, size, key, scope, tenant, limit,
input, idempotency. A handler carries out its effect with `exchange_of(request).commit(effect)`
and raises the SDK's own exceptions.
"""

from __future__ import annotations

from failwell.service.gates import Exchange, Service, exchange_of
from failwell.service.install import install, routes_for
from failwell.service.keys import KeyFormat, StoredKey, stored
from failwell.service.limits import Decision, Limit
from failwell.service.operations import Operation
from failwell.service.refusals import Refusal, RefusedRequest
from failwell.service.stores import FencedError, SQLiteStore, Store, StoreBusyError
from failwell.service.validation import fields_from_pydantic, json_body

__all__ = [
    "Decision",
    "Exchange",
    "FencedError",
    "KeyFormat",
    "Limit",
    "Operation",
    "Refusal",
    "RefusedRequest",
    "SQLiteStore",
    "Service",
    "Store",
    "StoreBusyError",
    "StoredKey",
    "exchange_of",
    "fields_from_pydantic",
    "install",
    "json_body",
    "routes_for",
    "stored",
]
