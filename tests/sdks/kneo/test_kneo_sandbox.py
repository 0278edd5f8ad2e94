"""Both clients against the service of the sandbox: every exception from its real cause."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sdk_clients import on

import failwell_sandbox
from failwell import Connections, Effect
from kneo_client import AsyncKneoClient, KneoClient, RetryPolicy, RunCreate
from kneo_client.core.errors import (
    KneoAuthError,
    KneoConflictError,
    KneoError,
    KneoIdempotencyMismatchError,
    KneoNotFoundError,
    KneoPermissionError,
    KneoRateLimited,
    KneoServerError,
)

PAYLOAD = {"spec_id": "spec_text_stats", "environment_id": "env_staging", "input": {"text": "one two two"}}
ENDLESS = {**PAYLOAD, "spec_id": "spec_hash_chain", "input": {"text": "x", "rounds": 10**9}}
ONCE = RetryPolicy(max_attempts=1)
DIRECT = Connections(trust_env=False)


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with failwell_sandbox.running(("kneo",)) as sandbox:
        yield sandbox.kneo


@pytest.fixture(params=[KneoClient, AsyncKneoClient])
def use(request: pytest.FixtureRequest, service: Any) -> Callable[..., Any]:
    """Runs one function on the blocking or on the awaiting client, the same way for a test."""

    def use(call: Callable[[Any], Any], key: str | None = None, **settings: Any) -> Any:
        chosen = {"api_key": key or service.keys.full, "base_url": service.url, "connections": DIRECT}
        return on(request.param, call, chosen | settings)

    return use


@pytest.fixture
def direct(service: Any) -> Iterator[KneoClient]:
    with KneoClient(service.keys.full, base_url=service.url, connections=DIRECT) as client:
        yield client


def _finished(client: KneoClient, run_id: str) -> Any:
    """The run once nothing more happens to it."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        run = client.platform.runs.get(run_id)
        if run.finished:
            return run
        time.sleep(0.02)
    raise AssertionError(f"{run_id} is still {run.status}")


# --- work ---


def test_a_run_runs_and_brings_its_output(use: Any, direct: KneoClient) -> None:
    run = use(lambda c: c.platform.runs.create({**PAYLOAD, "metadata": {"name": "first"}}))

    done = _finished(direct, run.id)

    assert (run.spec_id, run.environment_id, run.metadata["name"]) == (
        "spec_text_stats",
        "env_staging",
        "first",
    )
    assert done.status == "succeeded"
    assert done.output["words"] == 3
    assert done.created_at <= done.started_at <= done.finished_at
    assert done.extra == {}


def test_a_run_that_fails_says_at_which_step(use: Any, direct: KneoClient) -> None:
    payload = {**PAYLOAD, "spec_id": "spec_json_shape", "input": {"text": "{"}}

    done = _finished(direct, use(lambda c: c.platform.runs.create(payload)).id)

    assert done.status == "failed"
    assert (done.error.code, done.error.step) == ("step_failed", "parse")
    assert "not JSON" in done.error.message


def test_runs_are_listed_page_by_page(use: Any, service: Any) -> None:
    key = service.new_key(tenant="globex")
    made = [use(lambda c: c.platform.runs.create(PAYLOAD), key).id for _ in range(3)]

    first = use(lambda c: c.platform.runs.list(limit=2), key)
    second = use(lambda c: c.platform.runs.list(limit=2, cursor=first.next_cursor), key)

    assert [r.id for r in (*first, *second)][:3] == made[::-1]
    assert len(first) == 2


def test_specs_and_environments_are_read(use: Any) -> None:
    specs = use(lambda c: c.platform.specs.list())
    environments = use(lambda c: c.platform.environments.list())

    assert use(lambda c: c.platform.specs.get(specs.items[0].id)) == specs.items[0]
    assert use(lambda c: c.platform.environments.get("env_staging")) in environments.items
    assert {e.extra == {} for e in environments} == {s.extra == {} for s in specs} == {True}


def test_the_platform_is_alive_and_ready(use: Any) -> None:
    assert use(lambda c: c.platform.health.livez()).status == "ok"
    assert use(lambda c: c.platform.health.readyz()).checks == {"database": "ok"}


def test_a_run_of_your_own_spec_in_your_own_environment(use: Any, direct: KneoClient) -> None:
    name = f"own-{time.time_ns()}"
    definition = {"steps": ["tokenize", "summarize"]}
    spec = use(lambda c: c.platform.specs.create({"name": name, "definition": definition}))
    environment = use(lambda c: c.platform.environments.create({"name": name, "variables": {"A": "b"}}))

    run = use(lambda c: c.platform.runs.create(RunCreate(spec.id, environment.id, {"text": "a b"})))

    assert (spec.version, spec.definition, environment.variables) == (1, definition, {"A": "b"})
    assert _finished(direct, run.id).output["words"] == 2
    mine = use(lambda c: c.platform.runs.list(spec_id=spec.id, status="succeeded"))
    assert [r.id for r in mine] == [run.id]


def test_a_name_that_is_taken(use: Any) -> None:
    payload = {"name": f"taken-{time.time_ns()}", "definition": {"steps": ["tokenize"]}}
    use(lambda c: c.platform.specs.create(payload))

    error = _raised(use, KneoConflictError, lambda c: c.platform.specs.create(payload))

    assert error.code == "name_taken"


def test_a_spec_is_changed_by_one_and_not_by_two_at_once(use: Any) -> None:
    name = f"changed-{time.time_ns()}"
    old, new = ({"name": name, "definition": {"steps": steps}} for steps in (["tokenize"], ["parse"]))
    spec = use(lambda c: c.platform.specs.create(old))

    changed = use(lambda c: c.platform.specs.update(spec.id, new, version=spec.version))
    error = _raised(
        use, KneoConflictError, lambda c: c.platform.specs.update(spec.id, old, version=spec.version)
    )

    assert (changed.definition, changed.version) == (new["definition"], 2)
    assert changed.updated_at >= spec.created_at
    assert error.code == "version_mismatch"
    assert error.failure.details["version"] == 2


def test_the_platform_s_specs_are_not_yours_to_change(use: Any) -> None:
    payload = {"name": "mine", "definition": {"steps": ["tokenize"]}}

    _raised(use, KneoPermissionError, lambda c: c.platform.specs.update("spec_chunks", payload))


# --- the same key ---


def test_a_key_with_the_same_payload_brings_the_first_run(use: Any, service: Any) -> None:
    key = f"again-{time.time_ns()}"

    one = use(lambda c: c.platform.runs.create(PAYLOAD, idempotency_key=key))
    two = use(lambda c: c.platform.runs.create(PAYLOAD, idempotency_key=key))

    assert one.id == two.id
    assert service.effects(key) == 1


def test_a_key_with_another_payload_is_a_mismatch(use: Any, service: Any) -> None:
    key = f"other-{time.time_ns()}"
    use(lambda c: c.platform.runs.create(PAYLOAD, idempotency_key=key))

    with pytest.raises(KneoIdempotencyMismatchError) as caught:
        use(lambda c: c.platform.runs.create({**PAYLOAD, "metadata": {"name": "other"}}, idempotency_key=key))

    assert caught.value.idempotency_key == key
    assert caught.value.effect is Effect.NOT_APPLIED
    assert service.effects(key) == 1


def test_a_key_used_twice_at_once_makes_one_run(use: Any, service: Any, direct: KneoClient) -> None:
    key = f"twin-{time.time_ns()}"
    slow = {**PAYLOAD, "spec_id": "spec_sealed", "input": {"text": "x", "rounds": 200_000}}

    with ThreadPoolExecutor(1) as pool:
        twin = pool.submit(direct.platform.runs.create, slow, idempotency_key=key)
        run = use(lambda c: c.platform.runs.create(slow, idempotency_key=key))

    assert run.id == twin.result().id
    assert service.effects(key) == 1


# --- each exception from its cause ---


def _raised(use: Any, cls: type[KneoError], call: Callable[[Any], Any], *args: Any, **settings: Any) -> Any:
    with pytest.raises(cls) as caught:
        use(call, *args, **settings)
    assert type(caught.value) is cls
    assert caught.value.request_id
    return caught.value


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("unknown", "api_key_invalid"),
        ("revoked", "api_key_revoked"),
        ("expired", "api_key_expired"),
        (None, "api_key_malformed"),
    ],
)
def test_a_bad_key(use: Any, service: Any, key: str | None, code: str) -> None:
    value = getattr(service.keys, key) if key else "nonsense"

    error = _raised(use, KneoAuthError, lambda c: c.platform.runs.list(), value)

    assert (error.status, error.code) == (401, code)


def test_a_key_short_of_a_scope(use: Any, service: Any) -> None:
    error = _raised(
        use, KneoPermissionError, lambda c: c.platform.runs.create(PAYLOAD), service.keys.read_only
    )

    assert (error.status, error.code) == (403, "insufficient_scope")
    assert "runs:write" in str(error)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda c: c.platform.runs.get("run_0"), "run_not_found"),
        (lambda c: c.platform.runs.cancel("run_0"), "run_not_found"),
        (lambda c: c.platform.specs.get("spec_0"), "spec_not_found"),
        (lambda c: c.platform.environments.get("a/b"), None),
        (lambda c: c.platform.runs.create({**PAYLOAD, "spec_id": "spec_0"}), "spec_not_found"),
        (lambda c: c.platform.runs.create({**PAYLOAD, "environment_id": "env_0"}), "environment_not_found"),
    ],
)
def test_what_is_not_there(use: Any, call: Callable[[Any], Any], code: str | None) -> None:
    error = _raised(use, KneoNotFoundError, call)

    assert error.status == 404
    assert code in (None, error.code)


def test_what_is_another_tenant_s_is_not_there(use: Any, service: Any, direct: KneoClient) -> None:
    run = direct.platform.runs.create(PAYLOAD)

    _raised(use, KneoNotFoundError, lambda c: c.platform.runs.get(run.id), service.keys.other_tenant)


def test_what_is_cancelled_cannot_be_cancelled_again(use: Any, direct: KneoClient) -> None:
    run = direct.platform.runs.create(ENDLESS)

    assert use(lambda c: c.platform.runs.cancel(run.id)).status == "cancelled"
    error = _raised(use, KneoConflictError, lambda c: c.platform.runs.cancel(run.id))

    assert (error.status, error.code) == (409, "run_not_cancellable")


def test_an_environment_that_takes_no_runs(use: Any) -> None:
    payload = {**PAYLOAD, "environment_id": "env_retired"}

    error = _raised(use, KneoConflictError, lambda c: c.platform.runs.create(payload))

    assert error.code == "environment_retired"
    assert error.idempotency_key


def test_a_payload_with_missing_fields_is_plain_kneo_error(use: Any) -> None:
    error = _raised(use, KneoError, lambda c: c.platform.runs.create({"input": 7}))

    assert error.status == 422
    assert {f.path[-1] for f in error.fields} == {"spec_id", "input"}


def test_a_rate_limit(use: Any, service: Any) -> None:
    from failwell.service import Limit

    key = service.new_key(limit=Limit(1, 3600.0))
    use(lambda c: c.platform.specs.list(), key)

    error = _raised(use, KneoRateLimited, lambda c: c.platform.specs.list(), key)

    assert error.status == 429
    assert 60 < error.retry_after <= 3601  # rounded up
    assert error.rate_limit.remaining == 0


def test_a_defect_of_the_service_is_not_asked_for_twice(use: Any) -> None:
    payload = {**PAYLOAD, "spec_id": "spec_chunks", "input": {"text": "x", "chunk_size": 0}}

    error = _raised(use, KneoServerError, lambda c: c.platform.runs.create(payload))

    assert (error.status, len(error.attempts)) == (500, 1)


def test_a_service_that_is_about_to_end(use: Any, service: Any) -> None:
    with service.draining():
        error = _raised(use, KneoServerError, lambda c: c.platform.health.readyz(), retry=ONCE)

    assert error.status == 503
    assert error.retry_after
