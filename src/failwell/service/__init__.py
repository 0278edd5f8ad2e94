"""
The half that runs the API: one contract, and the service answers with exactly its errors.

`install` puts an application behind the gates: request id, size, key, scope, tenant, limit,
input, idempotency. A handler carries out its effect with `exchange_of(request).commit(effect)`
and raises the SDK's own exceptions.
"""

from __future__ import annotations

from failwell.service.check import Finding, UndeclaredError, check
from failwell.service.credits import Account, Debit, Entry, InsufficientCreditsError
from failwell.service.endpoints import Endpoints
from failwell.service.exchange import Exchange, exchange_of
from failwell.service.gates import Service
from failwell.service.install import install
from failwell.service.keys import KeyFormat, StoredKey, stored
from failwell.service.late_commits import LateCommit, LateCommitError
from failwell.service.limits import Decision, Limit, Standing
from failwell.service.openapi import openapi_operation
from failwell.service.operations import Operation
from failwell.service.refusals import Refusal, RefusedRequest
from failwell.service.routes import guarded, operations_of, routes_for
from failwell.service.stores import (
    FencedError,
    PostgresStore,
    SQLiteStore,
    Store,
    StoreBusyError,
    TransactionalStore,
    open_store,
)
from failwell.service.validation import fields_from_pydantic, json_body

__all__ = [
    "Account",
    "Debit",
    "Decision",
    "Endpoints",
    "Entry",
    "Exchange",
    "FencedError",
    "Finding",
    "InsufficientCreditsError",
    "KeyFormat",
    "LateCommit",
    "LateCommitError",
    "Limit",
    "Operation",
    "PostgresStore",
    "Refusal",
    "RefusedRequest",
    "SQLiteStore",
    "Service",
    "Standing",
    "Store",
    "StoreBusyError",
    "StoredKey",
    "TransactionalStore",
    "UndeclaredError",
    "check",
    "exchange_of",
    "fields_from_pydantic",
    "guarded",
    "install",
    "json_body",
    "open_store",
    "openapi_operation",
    "operations_of",
    "routes_for",
    "stored",
]
