"""Each method: what it asks, what it makes of the answer, what it refuses."""

from __future__ import annotations

import base64
import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from pictograph_answers import (
    BASE,
    BATCH,
    BOX,
    DATASET,
    EXPORT,
    IMAGE,
    IMPORT,
    MODEL,
    ORGANIZATION,
    POLYGON,
    RUN,
    SAVED,
    START,
    completed,
    page,
    refusal,
)
from sdk_clients import Play

import pictograph
from failwell.testing import answer, broken
from pictograph import Annotation, BBox, Point
from pictograph.exceptions import (
    ConflictError,
    JobFailedError,
    NetworkError,
    NotFoundError,
    PictographTypeError,
    PictographValueError,
    PollTimeoutError,
    ServerError,
)
from pictograph.resources import _time_to_upload


@dataclass
class Row:
    """A call, what it sends, and what comes back for it."""

    name: str
    call: Callable[[Any], Any]
    sent: str
    body: Any = None
    answer: Any = None
    kind: type = object


def row(name: str, call: Callable[[Any], Any], sent: str, body: Any, answer: Any, kind: type) -> Any:
    return pytest.param(Row(name, call, sent, body, answer, kind), id=name)


SMALL_IMAGES = "/v1/datasets/ds_1/images?folder=a%2Fb&name=x.jpg&limit=5&cursor=c"

ROWS = [
    row("organization", lambda c: c.organization(), "GET /v1/organization", None, ORGANIZATION,
        pictograph.Organization),
    row("datasets.list", lambda c: c.datasets.list(name="street", limit=7, cursor="c"),
        "GET /v1/datasets?name=street&limit=7&cursor=c", None, page(DATASET), pictograph.Page),
    row("datasets.get", lambda c: c.datasets.get("a street"), "GET /v1/datasets/by-name?name=a+street", None,
        DATASET, pictograph.Dataset),
    row("datasets.get by id", lambda c: c.datasets.get("ds_1"), "GET /v1/datasets/ds_1", None, DATASET,
        pictograph.Dataset),
    row("datasets.create", lambda c: c.datasets.create("street", description="x"), "POST /v1/datasets",
        {"name": "street", "description": "x"}, DATASET, pictograph.Dataset),
    row("datasets.export", lambda c: c.datasets.export("ds_1", name="first"),
        "POST /v1/datasets/ds_1/exports", {"name": "first", "format": "coco"}, EXPORT, pictograph.Export),
    row("datasets.delete", lambda c: c.datasets.delete("ds_1"), "DELETE /v1/datasets/ds_1", None,
        {"id": "ds_1", "deleted": True}, type(None)),
    row("images.list", lambda c: c.images.list("ds_1", folder="a/b", name="x.jpg", limit=5, cursor="c"),
        f"GET {SMALL_IMAGES}", None, page(IMAGE), pictograph.Page),
    row("images.list of the root", lambda c: c.images.list("ds_1", folder=""),
        "GET /v1/datasets/ds_1/images?folder=", None, page(), pictograph.Page),
    row("images.get", lambda c: c.images.get("img_1"), "GET /v1/images/img_1", None, IMAGE, pictograph.Image),
    row("images.delete", lambda c: c.images.delete("img_1"), "DELETE /v1/images/img_1", None,
        {"id": "img_1", "deleted": True}, type(None)),
    row("annotations.save", lambda c: c.annotations.save("img_1", [BOX, POLYGON], version=0),
        "PUT /v1/images/img_1/annotations", {"annotations": [BOX, POLYGON], "version": 0}, SAVED,
        pictograph.AnnotationSet),
    row("annotations.list", lambda c: c.annotations.list("img_1"), "GET /v1/images/img_1/annotations", None,
        SAVED, pictograph.AnnotationSet),
    row("training.create", lambda c: c.training.create("street", "first", config={"epochs": 3}),
        "POST /v1/training", {"dataset_name": "street", "export_name": "first", "pipeline_type": "yolox",
                              "config": {"epochs": 3}}, RUN, pictograph.TrainingRun),
    row("training.get", lambda c: c.training.get("run_1"), "GET /v1/training/run_1", None, RUN,
        pictograph.TrainingRun),
    row("training.list", lambda c: c.training.list(status="running", dataset_name="street"),
        "GET /v1/training?status=running&dataset_name=street", None, page(RUN), pictograph.Page),
    row("training.wait", lambda c: c.training.wait("run_1"), "GET /v1/training/run_1", None,
        completed(RUN, model_id="mdl_1"), pictograph.TrainingRun),
    row("training.cancel", lambda c: c.training.cancel("run_1"), "POST /v1/training/run_1/cancel", {},
        {**RUN, "status": "cancelled"}, pictograph.TrainingRun),
    row("models.get", lambda c: c.models.get("mdl_1"), "GET /v1/models/mdl_1", None, MODEL,
        pictograph.TrainedModel),
    row("models.list", lambda c: c.models.list(limit=1), "GET /v1/models?limit=1", None, page(MODEL),
        pictograph.Page),
    row("models.predict", lambda c: c.models.predict("mdl_1", "img_1", threshold=0.25),
        "POST /v1/models/mdl_1/predict", {"image_id": "img_1", "threshold": 0.25},
        {"model_id": "mdl_1", "image_id": "img_1", "annotations": [{**BOX, "confidence": 0.9}]},
        pictograph.Prediction),
    row("exports.create", lambda c: c.exports.create("ds_1"), "POST /v1/datasets/ds_1/exports",
        {"format": "coco"}, EXPORT, pictograph.Export),
    row("exports.get", lambda c: c.exports.get("exp_1"), "GET /v1/exports/exp_1", None, EXPORT,
        pictograph.Export),
    row("exports.list", lambda c: c.exports.list(dataset_id="ds_1", name="first", status="queued"),
        "GET /v1/exports?dataset_id=ds_1&name=first&status=queued", None, page(EXPORT), pictograph.Page),
    row("exports.wait", lambda c: c.exports.wait("exp_1"), "GET /v1/exports/exp_1", None, completed(EXPORT),
        pictograph.Export),
    row("imports.create", lambda c: c.imports.create("ds_1", "ds_2"), "POST /v1/datasets/ds_1/imports",
        {"source_dataset_id": "ds_2"}, IMPORT, pictograph.Import),
    row("imports.get", lambda c: c.imports.get("imp_1"), "GET /v1/imports/imp_1", None, IMPORT,
        pictograph.Import),
    row("imports.list", lambda c: c.imports.list(dataset_id="ds_1", status="queued"),
        "GET /v1/imports?dataset_id=ds_1&status=queued", None, page(IMPORT), pictograph.Page),
    row("imports.wait", lambda c: c.imports.wait("imp_1"), "GET /v1/imports/imp_1", None,
        completed(IMPORT, imported=2), pictograph.Import),
    row("imports.cancel", lambda c: c.imports.cancel("imp_1"), "POST /v1/imports/imp_1/cancel", {},
        {**IMPORT, "status": "cancelled"}, pictograph.Import),
    row("auto_annotation.create",
        lambda c: c.auto_annotation.create("ds_1", model_id="mdl_1", image_ids=["img_1"], threshold=1),
        "POST /v1/auto-annotate", {"dataset_id": "ds_1", "model_id": "mdl_1", "image_ids": ["img_1"],
                                   "overwrite": False, "threshold": 1.0}, BATCH, pictograph.AutoAnnotation),
    row("auto_annotation.get", lambda c: c.auto_annotation.get("aa_1"), "GET /v1/auto-annotate/aa_1", None,
        BATCH, pictograph.AutoAnnotation),
    row("auto_annotation.list", lambda c: c.auto_annotation.list(), "GET /v1/auto-annotate", None,
        page(BATCH), pictograph.Page),
    row("auto_annotation.wait", lambda c: c.auto_annotation.wait("aa_1"), "GET /v1/auto-annotate/aa_1", None,
        completed(BATCH, annotated=2), pictograph.AutoAnnotation),
    row("auto_annotation.cancel", lambda c: c.auto_annotation.cancel("aa_1"),
        "POST /v1/auto-annotate/aa_1/cancel", {}, {**BATCH, "status": "cancelled"},
        pictograph.AutoAnnotation),
]  # fmt: skip


@pytest.mark.parametrize("asked", ROWS)
def test_a_method_asks_as_the_service_wants_it_and_reads_the_answer(play: Play, asked: Row) -> None:
    went = play(asked.call, [answer(200, asked.answer)])
    [request] = went.requests

    assert went.error is None
    assert f"{request.method} {request.url.removeprefix(BASE)}" == asked.sent
    assert (None if request.content is None else json.loads(request.content)) == asked.body
    assert isinstance(went.result, asked.kind)


@pytest.mark.parametrize("asked", [r for r in ROWS if r.id not in ("models.predict",)])
def test_a_write_has_a_key_and_a_read_has_none(play: Play, asked: Row) -> None:
    [request] = play(asked.call, [answer(200, asked.answer)]).requests

    assert ("idempotency-key" in request.headers) == (not asked.sent.startswith("GET"))


def test_what_the_service_adds_is_kept(play: Play) -> None:
    dataset = play(lambda c: c.datasets.get("x"), [answer(200, {**DATASET, "colour": "red"})]).result

    assert dataset.extra == {"colour": "red"}
    assert dataset.created_at.year == 2026
    assert dataset.to_json()["colour"] == "red"


def test_a_name_that_looks_like_an_id_is_found_as_well(play: Play) -> None:
    script = [answer(404, refusal("dataset_not_found")), answer(200, {**DATASET, "name": "ds_old"})]
    went = play(lambda c: c.datasets.get("ds_old"), script)

    assert went.result.name == "ds_old"
    assert [request.url.removeprefix(BASE) for request in went.requests] == [
        "/v1/datasets/ds_old", "/v1/datasets/by-name?name=ds_old",
    ]  # fmt: skip


# --- images ---


def test_a_file_is_sent_with_its_digest_under_its_name(play: Play, tmp_path: Path) -> None:
    path = tmp_path / "a cat.jpg"
    path.write_bytes(b"bytes of a cat")
    went = play(lambda c: c.images.upload("ds_1", path, folder="a/b"), [answer(201, IMAGE)])
    [request] = went.requests
    digest = base64.b64encode(hashlib.sha256(b"bytes of a cat").digest()).decode()

    assert went.result.id == "img_1"
    assert request.url == f"{BASE}/v1/datasets/ds_1/images?name=a+cat.jpg&folder=a%2Fb"
    assert request.headers["content-digest"] == f"sha-256=:{digest}:"
    assert request.headers["content-type"] == "application/octet-stream"


def test_a_file_may_have_another_name_there(play: Play, tmp_path: Path) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"x")
    [request] = play(
        lambda c: c.images.upload("ds_1", str(path), name="dog.jpg"), [answer(201, IMAGE)]
    ).requests

    assert request.url.endswith("?name=dog.jpg")


@pytest.mark.parametrize(
    ("given", "raises"),
    [
        ({"file_path": "no such file.jpg"}, PictographValueError),
        ({"file_path": "."}, PictographValueError),
        ({"file_path": "a\0b"}, PictographValueError),
        ({"file_path": 7}, PictographTypeError),
        ({"file_path": b"x.jpg"}, PictographTypeError),
        ({"dataset_id": ""}, PictographValueError),
        ({"name": ""}, PictographValueError),
        ({"folder": None}, PictographTypeError),
        ({"progress": "yes"}, PictographTypeError),
        ({"idempotency_key": "a\nb"}, PictographValueError),
    ],
)
def test_an_upload_that_cannot_be_is_refused_before_anything_is_sent(
    play: Play, tmp_path: Path, given: dict[str, Any], raises: type[Exception]
) -> None:
    (tmp_path / "x.jpg").write_bytes(b"x")
    went = play(
        lambda c: c.images.upload(**{"dataset_id": "ds_1", "file_path": tmp_path / "x.jpg", **given}), []
    )

    assert type(went.error) is raises
    assert went.requests == []


def test_an_upload_has_more_time_by_its_size(play: Play, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 100)
    orders: list[Any] = []
    script = repeat(lambda order: orders.append(order) or answer(201, IMAGE))
    play(lambda c: c.images.upload("ds_1", path), script, deadline=50.0)
    play(lambda c: c.images.upload("ds_1", path), script, deadline=None)

    assert orders[0].deadline == START + 50.0 + 100.0
    assert orders[1].deadline == float("inf")


def test_a_file_that_may_not_be_read_is_refused(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "x.jpg").write_bytes(b"x")
    monkeypatch.setattr("pictograph.resources.os.open", denied)
    went = play(lambda c: c.images.upload("ds_1", tmp_path / "x.jpg"), [])

    assert type(went.error) is PictographValueError
    assert "cannot be read: Permission denied" in str(went.error)


def test_a_file_that_is_gone_before_it_is_asked_about_has_the_time_of_any_call(tmp_path: Path) -> None:
    assert _time_to_upload(str(tmp_path / "gone.jpg"), 50.0) == 50.0


def test_a_file_comes_back_as_its_bytes_and_only_whole(play: Play) -> None:
    digest = base64.b64encode(hashlib.sha256(b"bytes").digest()).decode()
    headers = {"content-digest": f"sha-256=:{digest}:", "content-type": "image/png"}
    for call in (lambda c: c.images.download("img_1"), lambda c: c.exports.download("exp_1")):
        good = play(call, [answer(200, content=b"bytes", headers=headers)])
        bad = play(call, [answer(200, content=b"other", headers=headers)])
        bare = play(call, [answer(200, content=b"other")])

        assert good.result == b"bytes"
        assert good.requests[0].headers["accept"] == "*/*"
        assert type(bad.error) is NetworkError
        assert bare.result == b"other"


def test_an_export_that_is_not_ready_is_a_conflict(play: Play) -> None:
    went = play(lambda c: c.exports.download("exp_1"), [answer(409, refusal("export_not_ready"))])

    assert (type(went.error), went.error.error_code) == (ConflictError, "export_not_ready")


# --- annotations ---


def test_annotations_come_back_as_what_they_are(play: Play) -> None:
    saved = play(lambda c: c.annotations.list("img_1"), [answer(200, SAVED)]).result

    assert [a.name for a in saved] == ["person", "road"]
    assert (len(saved), saved[0].bbox, saved.version) == (2, BBox(1, 2.5, 3, 4), 1)
    assert saved[1].polygon == ((Point(0, 0), Point(4, 0), Point(4, 5)),)


def test_annotations_can_be_saved_as_they_came(play: Play) -> None:
    box = Annotation("person", "bbox", BBox(1, 2.5, 3, 4))
    road = Annotation("road", "polygon", polygon=((Point(0, 0), Point(4, 0), Point(4, 5)),))
    [request] = play(lambda c: c.annotations.save("img_1", [box, road]), [answer(200, SAVED)]).requests

    assert json.loads(request.content) == {"annotations": [BOX, POLYGON]}


@pytest.mark.parametrize("given", ["a string", {"name": "person"}, 7, None, ["person"], [None]])
def test_what_is_no_list_of_annotations_is_refused(play: Play, given: Any) -> None:
    went = play(lambda c: c.annotations.save("img_1", given), [])

    assert type(went.error) is PictographTypeError
    assert went.requests == []


def test_a_version_that_is_not_the_current_one_is_a_conflict(play: Play) -> None:
    body = refusal("version_conflict", "Somebody else saved.", expected=1, version=2, image_id="img_1")
    error = play(lambda c: c.annotations.save("img_1", [], version=1), [answer(409, body)]).error

    assert (type(error), error.error_code, error.failure.details["version"]) == (
        ConflictError, "version_conflict", 2,
    )  # fmt: skip


# --- jobs ---


def test_a_run_is_looked_at_when_the_service_says_until_it_has_ended(play: Play) -> None:
    seen: list[float] = []
    looks = [
        answer(200, {**RUN, "status": "queued"}, headers={"retry-after": "1"}),
        answer(200, {**RUN, "status": "running", "progress": 0.5}, headers={"retry-after": "3"}),
        broken("reset"),
        answer(200, completed(RUN, model_id="mdl_1")),
    ]
    went = play(lambda c: c.training.wait("run_1", progress=lambda run: seen.append(run.progress)), looks)

    assert went.result.model_id == "mdl_1"
    assert seen == [0.0, 0.5, 1.0]
    assert went.sleeps == [1.0, 3.0, 1.0]


@pytest.mark.parametrize(
    "wait",
    [
        lambda c: c.training.wait("run_1", timeout=5.0),
        lambda c: c.exports.wait("run_1", timeout=5.0),
        lambda c: c.imports.wait("run_1", timeout=5.0),
        lambda c: c.auto_annotation.wait("run_1", timeout=5.0),
    ],
)
def test_a_job_that_takes_longer_goes_on_and_says_which_it_is(play: Play, wait: Any) -> None:
    running = answer(200, {"id": "run_1", "name": "x", "status": "running"}, headers={"retry-after": "1"})
    went = play(wait, repeat(running))

    assert type(went.error) is PollTimeoutError
    assert (went.error.run_id, went.error.job_status) == ("run_1", "running")
    assert all(request.method == "GET" for request in went.requests)


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        (pictograph.Export, EXPORT),
        (pictograph.Import, IMPORT),
        (pictograph.TrainingRun, RUN),
        (pictograph.AutoAnnotation, BATCH),
    ],
)
def test_what_is_waited_for_is_a_job_that_can_be_kept(kind: Any, members: dict[str, Any]) -> None:
    job = kind.from_json({**members, "colour": "red"})

    assert isinstance(job, pictograph.Job)
    assert pickle.loads(pickle.dumps(job)) == job
    assert kind.from_json(job.to_json()) == job
    assert (job.status, job.dataset_id, job.extra["colour"]) == ("queued", "ds_1", "red")


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_job_that_failed_is_raised_with_why(play: Play, status: str) -> None:
    why = {"code": "nothing_to_learn", "message": "There is one class."} if status == "failed" else None
    went = play(lambda c: c.training.wait("run_1"), [answer(200, {**RUN, "status": status, "error": why})])

    assert type(went.error) is JobFailedError
    assert (went.error.run_id, went.error.job_status) == ("run_1", status)
    assert went.error.error_code == ("nothing_to_learn" if why else "job_cancelled")


def test_a_batch_is_started_once_and_waited_for(play: Play) -> None:
    script = [answer(503), answer(201, BATCH), answer(200, completed(BATCH, annotated=2))]
    went = play(lambda c: c.auto_annotation.batch("ds_1", name="thing", idempotency_key="k"), script)

    assert went.result.annotated == 2
    assert [r.headers.get("idempotency-key") for r in went.requests] == ["k", "k", None]


def test_an_import_is_started_once_and_waited_for(play: Play) -> None:
    script = [answer(503), answer(201, IMPORT), answer(200, completed(IMPORT, imported=2))]
    went = play(lambda c: c.datasets.import_from("ds_1", "ds_2", idempotency_key="k"), script)

    assert went.result.imported == 2
    assert [r.headers.get("idempotency-key") for r in went.requests] == ["k", "k", None]


def test_an_import_that_takes_longer_can_be_picked_up(play: Play) -> None:
    running = answer(200, {**IMPORT, "status": "running"}, headers={"retry-after": "1"})
    script = [answer(201, IMPORT), *[running] * 5]
    went = play(lambda c: c.datasets.import_from("ds_1", "ds_2", timeout=3.0), script)

    assert (type(went.error), went.error.run_id) == (PollTimeoutError, "imp_1")


def test_a_batch_that_takes_longer_can_be_picked_up(play: Play) -> None:
    running = answer(200, {**BATCH, "status": "running"}, headers={"retry-after": "1"})
    went = play(lambda c: c.auto_annotation.batch("ds_1", timeout=3.0), [answer(201, BATCH), *[running] * 5])

    assert (type(went.error), went.error.run_id) == (PollTimeoutError, "aa_1")


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), "60", None, True])
def test_a_time_to_wait_that_is_none_is_refused(play: Play, timeout: Any) -> None:
    for call in (
        lambda c: c.training.wait("run_1", timeout=timeout),
        lambda c: c.auto_annotation.batch("ds_1", timeout=timeout),
    ):
        went = play(call, [])
        assert isinstance(went.error, PictographValueError)
        assert went.requests == []


# --- training, in one ---


def service(jobs: dict[str, Any], asked: list[str]) -> Callable[[Any], Any]:
    """Answers the calls of a pipeline; `jobs` says what a look at the run brings."""

    def answers(order: Any) -> Any:
        request = order.request
        path = request.url.removeprefix(BASE).partition("?")[0]
        asked.append(f"{request.method} {path}")
        known = {
            "GET /v1/datasets/by-name": DATASET,
            "GET /v1/exports": page(),
            "POST /v1/datasets/ds_1/exports": EXPORT,
            "GET /v1/exports/exp_1": completed(EXPORT),
            "POST /v1/training": RUN,
            "GET /v1/training/run_1": completed(RUN, model_id="mdl_1"),
            "GET /v1/models/mdl_1": MODEL,
        } | jobs
        return answer(200, known[asked[-1]], headers={"retry-after": "1"})

    return answers


def train(client: Any, **given: Any) -> Any:
    is_async = isinstance(client, pictograph.AsyncClient)
    return (pictograph.train_pipeline_async if is_async else pictograph.train_pipeline)(
        client, "street", **given
    )


def test_a_pipeline_is_an_export_a_run_and_a_model(play: Play) -> None:
    asked: list[str] = []
    went = play(lambda c: train(c, config={"epochs": 2}), repeat(service({}, asked)))
    run, model = went.result

    assert (run.status, model.id) == ("completed", "mdl_1")
    assert asked == [
        "GET /v1/datasets/by-name", "POST /v1/datasets/ds_1/exports", "GET /v1/exports/exp_1",
        "POST /v1/training", "GET /v1/training/run_1", "GET /v1/models/mdl_1",
    ]  # fmt: skip


def test_a_pipeline_learns_from_the_export_that_is_there(play: Play) -> None:
    asked: list[str] = []
    jobs = {"GET /v1/exports": page(completed(EXPORT))}
    play(lambda c: train(c, export_name="first"), repeat(service(jobs, asked)))

    assert asked[:3] == ["GET /v1/datasets/by-name", "GET /v1/exports", "POST /v1/training"]


def test_a_pipeline_makes_the_export_that_is_not_there(play: Play) -> None:
    asked: list[str] = []
    play(lambda c: train(c, export_name="first"), repeat(service({}, asked)))

    assert asked[:3] == ["GET /v1/datasets/by-name", "GET /v1/exports", "POST /v1/datasets/ds_1/exports"]


def test_a_pipeline_that_is_begun_again_with_its_key_takes_up_the_same_run(play: Play) -> None:
    keys = []
    for _ in range(2):
        went = play(lambda c: train(c, idempotency_key="mine"), repeat(service({}, [])))
        keys.append([r.headers["idempotency-key"] for r in went.requests if r.method == "POST"])

    assert keys == [["mine-export", "mine-run"]] * 2


def test_a_pipeline_whose_run_takes_longer_says_which_run(play: Play) -> None:
    jobs = {"GET /v1/training/run_1": {**RUN, "status": "running"}}
    went = play(lambda c: train(c, timeout=10.0), repeat(service(jobs, [])))

    assert (type(went.error), went.error.run_id) == (PollTimeoutError, "run_1")
    assert sum(went.sleeps) <= 11


def test_a_pipeline_stops_where_it_fails(play: Play) -> None:
    for call, error in (("POST /v1/training", ServerError), ("GET /v1/datasets/by-name", NotFoundError)):
        status = 503 if error is ServerError else 404

        def answers(order: Any, call: str = call, status: int = status) -> Any:
            asked: list[str] = []
            said = service({}, asked)(order)
            return answer(status, refusal("no")) if asked[-1] == call else said

        assert type(play(train, repeat(answers)).error) is error


@pytest.mark.parametrize(
    "given",
    [
        {"pipeline": 7},
        {"pipeline": ""},
        {"timeout": 0},
        {"export_timeout": "1"},
        {"config": [1]},
        {"export_name": ""},
        {"progress": 1},
        {"idempotency_key": 1},
    ],
)
def test_a_pipeline_that_cannot_be_is_refused_before_anything_is_sent(
    play: Play, given: dict[str, Any]
) -> None:
    went = play(lambda c: train(c, **given), [])

    assert isinstance(went.error, PictographValueError)
    assert went.requests == []
