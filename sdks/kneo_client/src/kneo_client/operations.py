"""
What the platform can be asked, as plain data: one function for each operation.

Both clients send what these functions return. Arguments that cannot be used are refused here,
before anything is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

from failwell.call.messages import Response
from failwell.call.operation import Operation
from failwell.errors import ArgumentTypeError, UsageError
from kneo_client.models import Environment, Health, Page, Run, RunCreate, Spec

T = TypeVar("T")


def create_run(payload: RunCreate | Mapping[str, Any]) -> Operation[Run]:
    """POST /v1/runs."""
    body: dict[str, Any]
    if isinstance(payload, RunCreate):
        body = payload.to_json()
    elif isinstance(payload, Mapping):
        body = dict(payload)
    else:
        raise ArgumentTypeError(f"payload is a {type(payload).__name__}; give a dict or a RunCreate")
    return Operation("POST", "/v1/runs", _one(Run.from_json), json=body)


def get_run(run_id: str) -> Operation[Run]:
    """GET /v1/runs/{run_id}."""
    return Operation("GET", f"/v1/runs/{_segment('run_id', run_id)}", _one(Run.from_json))


def list_runs(limit: int | None, cursor: str | None) -> Operation[Page[Run]]:
    """GET /v1/runs."""
    query = {
        "limit": None if limit is None else _whole("limit", limit),
        "cursor": None if cursor is None else _string("cursor", cursor),
    }
    return Operation("GET", "/v1/runs", _page(Run.from_json), params=query)


def cancel_run(run_id: str, version: int | None) -> Operation[Run]:
    """POST /v1/runs/{run_id}/cancel, for a version with `If-Match`."""
    path = f"/v1/runs/{_segment('run_id', run_id)}/cancel"
    return Operation("POST", path, _one(Run.from_json), headers=_if_match(version))


def get_spec(spec_id: str) -> Operation[Spec]:
    """GET /v1/specs/{spec_id}."""
    return Operation("GET", f"/v1/specs/{_segment('spec_id', spec_id)}", _one(Spec.from_json))


def list_specs() -> Operation[Page[Spec]]:
    """GET /v1/specs."""
    return Operation("GET", "/v1/specs", _page(Spec.from_json))


def update_spec(spec_id: str, description: str, version: int | None) -> Operation[Spec]:
    """PATCH /v1/specs/{spec_id}, for a version with `If-Match`."""
    path = f"/v1/specs/{_segment('spec_id', spec_id)}"
    body = {"description": _string("description", description)}
    return Operation("PATCH", path, _one(Spec.from_json), json=body, headers=_if_match(version))


def get_environment(environment_id: str) -> Operation[Environment]:
    """GET /v1/environments/{environment_id}."""
    path = f"/v1/environments/{_segment('environment_id', environment_id)}"
    return Operation("GET", path, _one(Environment.from_json))


def list_environments() -> Operation[Page[Environment]]:
    """GET /v1/environments."""
    return Operation("GET", "/v1/environments", _page(Environment.from_json))


def livez() -> Operation[Health]:
    """GET /livez."""
    return Operation("GET", "/livez", _one(Health.from_json))


def readyz() -> Operation[Health]:
    """GET /readyz."""
    return Operation("GET", "/readyz", _one(Health.from_json))


def _one(read: Callable[[object], T]) -> Callable[[Response], T]:
    return lambda response: read(response.json())


def _page(read: Callable[[object], T]) -> Callable[[Response], Page[T]]:
    return lambda response: Page.from_json(response.json(), read)


def _segment(name: str, value: object) -> str:
    """`value` as one segment of a path, percent-encoded (RFC 3986, section 3.3)."""
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a string")
    # Dots are never encoded, and a path with them would be another path.
    if value.strip() in ("", ".", ".."):
        raise UsageError(f"{name} is {value!r}, which is no id")
    return quote(value, safe="")


def _if_match(version: int | None) -> dict[str, str]:
    """The header that asks for a version (RFC 9110, section 13.1.1)."""
    return {} if version is None else {"if-match": f'"{_whole("version", version)}"'}


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a whole number")
    if value < 1:
        raise UsageError(f"{name} is {value}; it is 1 or more")
    return value


def _string(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a string")
    return value
