"""Every example of the document, with a service that is played by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from pictograph_answers import (
    BASE,
    DATASET,
    EXPORT,
    IMAGE,
    KEY,
    MODEL,
    RUN,
    START,
    completed,
    page,
    refusal,
)
from pictograph_examples import IDEMPOTENCY, IMPORTS, PAYMENT, RECOVERY, SETTINGS, VALIDATION

import pictograph
from failwell.testing import FakeClock, ScriptedEngine, answer
from pictograph import Client

Example = Callable[..., tuple[dict[str, Any], ScriptedEngine]]


@pytest.fixture
def example() -> Example:
    """Runs an example with a client whose service answers by a script."""

    def run(code: str, script: Any = (), **names: Any) -> tuple[dict[str, Any], ScriptedEngine]:
        clock = FakeClock(START)
        engine = ScriptedEngine(script, clock)
        client = Client(KEY, base_url=BASE, engine=engine, clock=clock)
        names = {"client": client, **names}
        exec(code, names)
        return names, engine

    return run


def test_the_imports(example: Example) -> None:
    names, _ = example(IMPORTS)

    assert names["PollTimeoutError"] is pictograph.PollTimeoutError


def test_the_settings(example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTOGRAPH_API_KEY", KEY)
    names, _ = example(SETTINGS, Client=pictograph.Client)

    names["client"].close()


def test_payment_required(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    url = "https://pictograph.example/billing/upgrade"
    body = refusal("insufficient_credits", required=50, remaining=3, upgrade_url=url)
    _, engine = example(PAYMENT, [answer(402, body)], dataset_name="street", export_name="first")

    assert capsys.readouterr().out == f"Need 50 credits, you have 3\nTop up at: {url}\n"
    assert b'"pipeline_type":"yolox"' in (engine.requests[0].content or b"")


def test_validation(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    loc = ["body", "annotations", 0, "class"]
    fields = [{"loc": loc, "msg": "Use 'name'.", "type": "class_not_name"}]
    body = refusal("validation_failed", "The payload was refused.", errors=fields)
    example(VALIDATION, [answer(422, body)], image_id="img_1")

    summary, errors = capsys.readouterr().out.splitlines()
    assert summary.startswith("The payload was refused: body.annotations.0.class")
    assert errors == repr(fields)


def test_recovery_of_a_run_that_goes_on(example: Example) -> None:
    running = answer(200, {**RUN, "status": "running"}, headers={"retry-after": "1"})
    looks = 0

    def service(order: Any) -> Any:
        nonlocal looks
        url, method = order.request.url, order.request.method
        if "/datasets/by-name" in url:
            return answer(200, {**DATASET, "name": "ds"})
        if url.endswith("/exports"):
            return answer(201, EXPORT)
        if "/exports/" in url:
            return answer(200, completed(EXPORT))
        if "/models/" in url:
            return answer(200, MODEL)
        if method == "POST":
            return answer(201, RUN)
        looks += 1
        # After a minute of looks the run goes on, and is completed when somebody picks it up.
        return running if looks <= 60 else answer(200, completed(RUN, model_id="mdl_1"))

    names, engine = example(RECOVERY, repeat(service), train_pipeline=pictograph.train_pipeline)

    assert names["run_id"] == "run_1"
    assert names["run"].status == "completed"
    assert names["model"].id == "mdl_1"
    assert sum(request.url.endswith("/v1/training") for request in engine.requests) == 1


def test_idempotency(example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.jpg").write_bytes(b"jpg")
    dataset = pictograph.Dataset.from_json(DATASET)
    _, engine = example(IDEMPOTENCY, [answer(503), answer(201, IMAGE)], ds=dataset)

    keys = {request.headers["idempotency-key"] for request in engine.requests}
    assert keys == {"upload-x-jpg-2026-04-19"}
    assert len(engine.requests) == 2


def test_a_typo_in_a_datasets_name_is_not_found(example: Example) -> None:
    names, _ = example("found = client.datasets.list()", [answer(200, page(DATASET))])
    with pytest.raises(pictograph.NotFoundError):
        example("client.datasets.get('Street')", [answer(404, refusal("dataset_not_found"))])

    assert [dataset.name for dataset in names["found"]] == ["street"]
