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
from kneo_client.models import (
    Environment,
    EnvironmentCreate,
    Health,
    Page,
    Run,
    RunCreate,
    Spec,
    SpecCreate,
)

T = TypeVar("T")


def create_run(payload: RunCreate | Mapping[str, Any]) -> Operation[Run]:
    """POST /v1/runs."""
    return Operation("POST", "/v1/runs", _one(Run.from_json), json=_body(payload, RunCreate))


def get_run(run_id: str) -> Operation[Run]:
    """GET /v1/runs/{run_id}."""
    return Operation("GET", f"/v1/runs/{_segment('run_id', run_id)}", _one(Run.from_json))


def list_runs(
    status: str | None, spec_id: str | None, limit: int | None, cursor: str | None
) -> Operation[Page[Run]]:
    """GET /v1/runs."""
    query = {
        "status": _text("status", status),
        "spec_id": _text("spec_id", spec_id),
        **_paging(limit, cursor),
    }
    return Operation("GET", "/v1/runs", _page(Run.from_json), params=query)


def cancel_run(run_id: str, version: int | None) -> Operation[Run]:
    """POST /v1/runs/{run_id}/cancel, for a version with `If-Match`."""
    path = f"/v1/runs/{_segment('run_id', run_id)}/cancel"
    return Operation("POST", path, _one(Run.from_json), headers=_if_match(version))


def create_spec(payload: SpecCreate | Mapping[str, Any]) -> Operation[Spec]:
    """POST /v1/specs."""
    return Operation("POST", "/v1/specs", _one(Spec.from_json), json=_body(payload, SpecCreate))


def get_spec(spec_id: str) -> Operation[Spec]:
    """GET /v1/specs/{spec_id}."""
    return Operation("GET", f"/v1/specs/{_segment('spec_id', spec_id)}", _one(Spec.from_json))


def list_specs(limit: int | None, cursor: str | None) -> Operation[Page[Spec]]:
    """GET /v1/specs."""
    return Operation("GET", "/v1/specs", _page(Spec.from_json), params=_paging(limit, cursor))


def update_spec(
    spec_id: str, payload: SpecCreate | Mapping[str, Any], version: int | None
) -> Operation[Spec]:
    """PUT /v1/specs/{spec_id}, for a version with `If-Match`."""
    path = f"/v1/specs/{_segment('spec_id', spec_id)}"
    body = _body(payload, SpecCreate)
    return Operation("PUT", path, _one(Spec.from_json), json=body, headers=_if_match(version))


def create_environment(payload: EnvironmentCreate | Mapping[str, Any]) -> Operation[Environment]:
    """POST /v1/environments."""
    body = _body(payload, EnvironmentCreate)
    return Operation("POST", "/v1/environments", _one(Environment.from_json), json=body)


def get_environment(environment_id: str) -> Operation[Environment]:
    """GET /v1/environments/{environment_id}."""
    path = f"/v1/environments/{_segment('environment_id', environment_id)}"
    return Operation("GET", path, _one(Environment.from_json))


def list_environments(limit: int | None, cursor: str | None) -> Operation[Page[Environment]]:
    """GET /v1/environments."""
    query = _paging(limit, cursor)
    return Operation("GET", "/v1/environments", _page(Environment.from_json), params=query)


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


def _body(
    payload: object, model: type[RunCreate] | type[SpecCreate] | type[EnvironmentCreate]
) -> dict[str, Any]:
    if isinstance(payload, model):
        return payload.to_json()
    if isinstance(payload, Mapping):
        return dict(payload)
    raise ArgumentTypeError(f"payload is a {type(payload).__name__}; give a dict or a {model.__name__}")


def _segment(name: str, value: object) -> str:
    """`value` as one segment of a path, percent-encoded (RFC 3986, section 3.3)."""
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a string")
    # Dots are never encoded, and a path with them would be another path.
    if value.strip() in ("", ".", ".."):
        raise UsageError(f"{name} is {value!r}, which is no id")
    try:
        return quote(value, safe="")
    except UnicodeEncodeError:
        raise UsageError(f"{name} holds half a surrogate pair, which is no id") from None


def _paging(limit: int | None, cursor: str | None) -> dict[str, Any]:
    return {
        "limit": None if limit is None else _whole("limit", limit),
        "cursor": _text("cursor", cursor),
    }


def _if_match(version: int | None) -> dict[str, str]:
    """The header that asks for a version (RFC 9110, section 13.1.1)."""
    return {} if version is None else {"if-match": f'"{_whole("version", version)}"'}


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a whole number")
    if value < 1:
        raise UsageError(f"{name} is {value}; it is 1 or more")
    return value


def _text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ArgumentTypeError(f"{name} is a {type(value).__name__}; give a string")
    return value
