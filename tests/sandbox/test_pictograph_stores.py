"""Pictograph on PostgreSQL and Redis, with several worker processes that share its files."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pictograph_caller import RED, Pictograph, png
from sandbox_caller import said

sys.path.insert(0, str(Path(__file__).parents[1] / "service"))

from postgres_server import fresh_database
from redis_server import fresh_redis

import failwell_sandbox
from failwell_sandbox import Sandbox

URLS: dict[str, Callable[[], str]] = {"postgres": fresh_database, "redis": lambda: fresh_redis(tcp=True)}


@pytest.fixture(scope="module", params=URLS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with failwell_sandbox.running(
        ("pictograph",), store=URLS[request.param](), workers=2, wait=5.0, lease=2.0
    ) as sandbox:
        yield sandbox


@pytest.fixture
def pictograph(sandbox: Sandbox) -> Pictograph:
    return Pictograph(sandbox.pictograph)


def test_images_are_uploaded_once_whoever_serves(pictograph: Pictograph, sandbox: Sandbox) -> None:
    dataset = pictograph.dataset(f"many-{uuid4()}")
    key = str(uuid4())

    def upload(at: int) -> int:
        name, headers = (f"{at}.png", {}) if at >= 4 else ("same.png", {"Idempotency-Key": key})
        return pictograph.upload(dataset["id"], name, png(), headers=headers).status

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(upload, range(16))) == {201}
    assert pictograph.made("GET", f"/v1/datasets/{dataset['id']}")["image_count"] == 13
    assert sandbox.pictograph.effects(key) == 1
    assert pictograph.upload(dataset["id"], "4.png", png()).status == 409


def test_one_of_many_changes_at_once_wins(pictograph: Pictograph) -> None:
    image = pictograph.image(pictograph.dataset(f"changed-{uuid4()}")["id"], "a.png")

    def save(_: int) -> int:
        path = f"/v1/images/{image['id']}/annotations"
        return pictograph("PUT", path, {"annotations": [], "version": 0}).status

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(save, range(8))) == [200, *[409] * 7]


def test_a_dataset_is_imported_into_two_others_at_once(pictograph: Pictograph) -> None:
    source = pictograph.dataset(f"source-{uuid4()}")["id"]
    for at in range(5):
        pictograph.image(source, f"{at}.png", png())
    others = [pictograph.dataset(f"other-{at}-{uuid4()}")["id"] for at in range(2)]
    jobs = [
        pictograph.made("POST", f"/v1/datasets/{other}/imports", {"source_dataset_id": source})["id"]
        for other in (*others, *others)
    ]
    done = [pictograph.ended(f"/v1/imports/{job}") for job in jobs]

    assert {each["status"] for each in done} == {"completed"}
    for other in others:
        of_it = [each for each in done if each["dataset_id"] == other]
        assert sum(each["imported"] for each in of_it) == 5
        assert sum(each["skipped"] for each in of_it) == 5
        assert pictograph.made("GET", f"/v1/datasets/{other}")["image_count"] == 5


def test_a_training_is_paid_once_and_survives_its_worker(pictograph: Pictograph, sandbox: Sandbox) -> None:
    name, headers = f"boxes-{uuid4()}", {"Idempotency-Key": str(uuid4())}
    before = pictograph.made("GET", "/v1/organization")["credits"]["remaining"]
    dataset = pictograph.annotated(name, images=2)
    asked: dict[str, Any] = {
        "dataset_name": name, "export_name": "v1", "pipeline_type": "yolox", "config": {"epochs": 60},
    }  # fmt: skip
    first = pictograph("POST", "/v1/training", asked, headers=headers)
    again = pictograph("POST", "/v1/training", asked, headers=headers)
    assert (first.status, again.status, first.body) == (201, 201, again.body)
    os.kill(sandbox.pids[0], signal.SIGKILL)
    run = pictograph.ended(f"/v1/training/{said(first)['id']}")

    assert (run["status"], run["metrics"]["images"]) == ("completed", 2)
    assert pictograph.made("GET", "/v1/organization")["credits"]["remaining"] == before - 50
    image = pictograph.image(dataset["id"], "new.png", png(96, 64, [((10, 12, 24, 24), RED)]))
    predict = f"/v1/models/{run['model_id']}/predict"
    (found,) = pictograph.made("POST", predict, {"image_id": image["id"], "threshold": 0})["annotations"]
    assert found["name"] == "red"
    poor = Pictograph(sandbox.pictograph, sandbox.pictograph.new_key(tenant="hooli"))
    dataset = poor.annotated(name, images=1)
    assert poor("POST", "/v1/training", asked, headers=headers).status == 402
    assert poor("POST", "/v1/training", asked).status == 402
    assert poor.made("GET", "/v1/training")["items"] == []
    assert poor.made("DELETE", f"/v1/datasets/{dataset['id']}")["deleted"] is True
