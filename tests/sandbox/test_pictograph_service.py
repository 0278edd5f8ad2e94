"""The sandbox's Pictograph over real HTTP: who may what, what is stored, what is refused and why."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from pictograph_caller import BLUE, RED, Pictograph, digest_of, error, png, png_of
from sandbox_caller import said, until

import failwell_sandbox
from failwell.answer import Answer
from failwell.service import Limit
from failwell.service.check import check
from failwell_sandbox import Sandbox
from pictograph.contract import CONTRACT
from pictograph.exceptions import (
    ApiError,
    AuthError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    PaymentRequiredError,
    RateLimitError,
    ServerError,
    ValidationError,
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with failwell_sandbox.running(("pictograph",)) as sandbox:
        yield sandbox
        service = sandbox.pictograph.service
        assert service is not None
        assert service.undeclared == set()


@pytest.fixture(scope="module")
def pictograph(sandbox: Sandbox) -> Pictograph:
    return Pictograph(sandbox.pictograph)


@pytest.fixture
def dataset(pictograph: Pictograph) -> Any:
    return pictograph.dataset(f"dataset-{uuid4()}")


def is_refusal(answer: Answer, status: int, raises: type[Exception], code: str) -> Any:
    """Hold an answer to the contract; the error that a client raises."""
    found: Any = CONTRACT.decode(answer, method="POST")
    assert (answer.status, error(answer)["error_code"]) == (status, code)
    assert found.request_id == answer.headers["x-request-id"]
    assert type(found) is raises
    return found


def types_of(answer: Answer) -> list[tuple[list[Any], str]]:
    """Where an answer finds fault, and with what."""
    return [(found["loc"], found["type"]) for found in error(answer)["errors"]]


def test_every_error_that_a_handler_raises_is_declared(sandbox: Sandbox) -> None:
    service = sandbox.pictograph.service
    assert service is not None
    check(service)


# --- keys, roles, tiers ---


def test_keys_that_do_not_open_are_401(pictograph: Pictograph, sandbox: Sandbox) -> None:
    keys = sandbox.pictograph.keys
    for key, code in (
        ("nonsense", "api_key_malformed"),
        (keys.unknown, "api_key_invalid"),
        (keys.revoked, "api_key_revoked"),
        (keys.expired, "api_key_expired"),
        (None, "api_key_missing"),
    ):
        is_refusal(pictograph("GET", "/v1/datasets", key=key), 401, AuthError, code)


def test_a_viewer_reads_a_member_writes_and_only_an_admin_deletes_datasets(
    pictograph: Pictograph, sandbox: Sandbox, dataset: Any
) -> None:
    viewer, member = sandbox.pictograph.keys.read_only, sandbox.pictograph.new_key(role="member")
    path, new = f"/v1/datasets/{dataset['id']}", {"name": f"viewer-{uuid4()}"}

    assert pictograph("GET", path, key=viewer).status == 200
    is_refusal(pictograph("POST", "/v1/datasets", new, key=viewer), 403, ForbiddenError, "insufficient_role")
    assert pictograph("POST", "/v1/datasets", new, key=member).status == 201
    is_refusal(pictograph("DELETE", path, key=member), 403, ForbiddenError, "insufficient_role")
    assert said(pictograph("DELETE", path)) == {"id": dataset["id"], "deleted": True}
    is_refusal(pictograph("GET", path), 404, NotFoundError, "dataset_not_found")


def test_no_write_of_all_is_open_to_a_viewer(pictograph: Pictograph, sandbox: Sandbox) -> None:
    paths = pictograph.made("GET", "/openapi.json")["paths"]
    writes = [
        (method.upper(), re.sub(r"{\w+}", "any_1", path))
        for path, methods in paths.items()
        for method in methods
        if method in ("post", "put", "patch", "delete")
    ]
    assert len(writes) >= 11
    for method, path in writes:
        answer = pictograph(method, path, {}, key=sandbox.pictograph.keys.read_only)
        is_refusal(answer, 403, ForbiddenError, "insufficient_role")


def test_a_suspended_organisation_is_a_403(pictograph: Pictograph, sandbox: Sandbox) -> None:
    answer = pictograph("GET", "/v1/datasets", key=sandbox.pictograph.keys.suspended)
    is_refusal(answer, 403, ForbiddenError, "tenant_suspended")


def test_each_tier_has_its_limit_and_a_key_may_have_its_own(pictograph: Pictograph, sandbox: Sandbox) -> None:
    free = sandbox.pictograph.new_key(tier="free", role="viewer")
    pro = sandbox.pictograph.new_key(tier="pro", role="viewer")
    once = sandbox.pictograph.new_key(limit=Limit(1, 3600.0))

    assert pictograph("GET", "/v1/datasets", key=free).headers["x-ratelimit-limit"] == "60"
    assert pictograph("GET", "/v1/datasets", key=pro).headers["x-ratelimit-limit"] == "600"
    assert pictograph("GET", "/v1/datasets").headers["x-ratelimit-limit"] == "60000"
    assert pictograph("GET", "/v1/datasets", key=once).status == 200
    refused: RateLimitError = is_refusal(
        pictograph("GET", "/v1/datasets", key=once), 429, RateLimitError, "rate_limited"
    )
    assert refused.retry_after is not None
    assert 120 < refused.retry_after <= 3660


def test_organisations_cannot_see_each_other(pictograph: Pictograph, sandbox: Sandbox, dataset: Any) -> None:
    image = pictograph.image(dataset["id"], "ours.png")
    stranger = sandbox.pictograph.keys.other_tenant
    for method, path in (
        ("GET", f"/v1/datasets/{dataset['id']}"),
        ("GET", f"/v1/datasets/by-name?name={dataset['name']}"),
        ("GET", f"/v1/datasets/{dataset['id']}/images"),
        ("GET", f"/v1/images/{image['id']}"),
        ("GET", f"/v1/images/{image['id']}/content"),
        ("GET", f"/v1/images/{image['id']}/annotations"),
        ("DELETE", f"/v1/images/{image['id']}"),
    ):
        assert pictograph(method, path, key=stranger).status == 404, path
    assert pictograph.upload(dataset["id"], "theirs.png", png(), key=stranger).status == 404
    assert dataset["id"] not in pictograph("GET", "/v1/datasets?limit=1000", key=stranger).body.decode()


def test_an_organisation_is_told_its_role_tier_and_credits(pictograph: Pictograph, sandbox: Sandbox) -> None:
    poor = sandbox.pictograph.new_key(tenant="hooli", role="member", tier="pro")
    told = said(pictograph("GET", "/v1/organization", key=poor))

    assert (told["id"], told["role"], told["tier"]) == ("hooli", "member", "pro")
    assert told["credits"]["remaining"] == 3
    (entry,) = said(pictograph("GET", "/v1/credits", key=poor))["items"]
    assert (entry["amount"], entry["balance"], entry["reason"]) == (3, 3, "grant")


# --- datasets ---


def test_a_dataset_is_made_found_by_its_name_in_this_case_and_made_once(pictograph: Pictograph) -> None:
    name = f"Birds {uuid4()}"
    made = pictograph.made("POST", "/v1/datasets", {"name": name, "description": "of the garden"})

    assert pictograph.made("GET", f"/v1/datasets/by-name?name={name.replace(' ', '%20')}") == made
    assert (made["name"], made["description"], made["image_count"]) == (name, "of the garden", 0)
    answer = pictograph("GET", f"/v1/datasets/by-name?name={name.lower().replace(' ', '%20')}")
    is_refusal(answer, 404, NotFoundError, "dataset_not_found")
    answer = pictograph("POST", "/v1/datasets", {"name": name})
    is_refusal(answer, 409, ConflictError, "dataset_exists")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ["body", "name"]),
        ({"name": ""}, ["body", "name"]),
        ({"name": "x" * 101}, ["body", "name"]),
        ({"name": "a\nb"}, ["body", "name"]),
        ({"name": "a\0b"}, ["body", "name"]),
        ({"name": ["a"]}, ["body", "name"]),
        ({"name": "a", "colour": 1}, ["body", "colour"]),
        ({"name": "a", "description": "\0"}, ["body", "description"]),
    ],
)
def test_a_dataset_that_cannot_be_is_a_422_saying_where(
    pictograph: Pictograph, body: Any, where: Any
) -> None:
    answer = pictograph("POST", "/v1/datasets", body)

    found: ValidationError = is_refusal(answer, 422, ValidationError, "validation_failed")
    assert [fault["loc"] for fault in found.errors] == [where]
    assert all(fault["msg"] and fault["type"] for fault in found.errors)


# --- idempotency ---


def test_a_write_is_done_once_for_a_key_and_the_key_holds_its_body(
    pictograph: Pictograph, sandbox: Sandbox
) -> None:
    name, key = f"once-{uuid4()}", {"Idempotency-Key": str(uuid4())}
    first = pictograph("POST", "/v1/datasets", {"name": name}, headers=key)
    again = pictograph("POST", "/v1/datasets", {"name": name}, headers=key)

    assert (first.status, again.status, again.body) == (201, 201, first.body)
    assert again.headers["idempotent-replayed"] == "true"
    other = pictograph("POST", "/v1/datasets", {"name": f"{name}-other"}, headers=key)
    is_refusal(other, 409, ConflictError, "idempotency_conflict")
    assert sandbox.pictograph.effects(name=name) == 1


def test_a_key_holds_for_24_hours(pictograph: Pictograph, sandbox: Sandbox) -> None:
    name, key = f"a-day-{uuid4()}", {"Idempotency-Key": str(uuid4())}
    first = pictograph("POST", "/v1/datasets", {"name": name}, headers=key)

    def an_hour_of_the_day_later(hours: float) -> Answer:
        """Ask again when the record is that old."""
        sandbox.pictograph.database.write_blocking(
            lambda db: db.execute(
                "UPDATE failwell_idempotency SET expires_at = {now} + ? WHERE request_id = ?",
                (24 - hours) * 3600.0, first.headers["x-request-id"],
            )
        )  # fmt: skip
        return pictograph("POST", "/v1/datasets", {"name": name}, headers=key)

    (ends,) = sandbox.pictograph.database.read_blocking(
        "SELECT expires_at - {now} FROM failwell_idempotency WHERE request_id = ?",
        first.headers["x-request-id"],
    )
    assert 23.9 < ends[0] / 3600 < 24.1
    assert an_hour_of_the_day_later(23.9).body == first.body
    # The key is new again, and the request a second one.
    is_refusal(an_hour_of_the_day_later(24.1), 409, ConflictError, "dataset_exists")


def test_an_upload_is_done_once_for_a_key_and_the_key_holds_the_file(
    pictograph: Pictograph, dataset: Any
) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    first = pictograph.upload(dataset["id"], "once.png", png(), headers=key)
    again = pictograph.upload(dataset["id"], "once.png", png(), headers=key)

    assert (first.status, again.status, again.body) == (201, 201, first.body)
    for other in (
        pictograph.upload(dataset["id"], "once.png", png(9, 9), headers=key),
        pictograph.upload(dataset["id"], "other.png", png(), headers=key),
    ):
        is_refusal(other, 409, ConflictError, "idempotency_conflict")
    assert pictograph.made("GET", f"/v1/datasets/{dataset['id']}")["image_count"] == 1


# --- images ---


def test_an_image_is_stored_byte_for_byte(pictograph: Pictograph, dataset: Any) -> None:
    data = png(20, 10, [((2, 2, 5, 5), RED)])
    image = pictograph.image(dataset["id"], "red box.png", data, folder="a/b")
    found = pictograph("GET", f"/v1/images/{image['id']}/content")

    assert (image["width"], image["height"], image["size"]) == (20, 10, len(data))
    assert (image["content_type"], image["folder"], image["name"]) == ("image/png", "a/b", "red box.png")
    assert found.body == data
    assert found.headers["content-digest"] == digest_of(data)
    assert (found.headers["content-type"], found.headers["x-content-type-options"]) == (
        "image/png",
        "nosniff",
    )
    assert pictograph.made("GET", f"/v1/images/{image['id']}") == image


def test_a_name_is_alone_in_its_folder_and_the_conflict_says_what_is_there(
    pictograph: Pictograph, dataset: Any
) -> None:
    image = pictograph.image(dataset["id"], "a.png")
    pictograph.image(dataset["id"], "a.png", folder="other")
    answer = pictograph.upload(dataset["id"], "a.png", png(9, 9))

    found = is_refusal(answer, 409, ConflictError, "image_exists")
    assert found.failure.details == {
        "name": "a.png", "folder": "", "image_id": image["id"], "sha256": image["sha256"],
        "size": image["size"],
    }  # fmt: skip


DIGEST = ["header", "content-digest"]


@pytest.mark.parametrize(
    ("query", "headers", "body", "fault"),
    [
        ("", {}, png(), (["query", "name"], "missing")),
        ("name=", {}, png(), (["query", "name"], "name_not_usable")),
        ("name=..", {}, png(), (["query", "name"], "name_not_usable")),
        ("name=..%2Fx.png", {}, png(), (["query", "name"], "name_not_usable")),
        ("name=a%00.png", {}, png(), (["query", "name"], "name_not_usable")),
        ("name=" + "x" * 256, {}, png(), (["query", "name"], "name_not_usable")),
        ("name=a.png&folder=%2Fetc", {}, png(), (["query", "folder"], "name_not_usable")),
        ("name=a.png&folder=a%2F..", {}, png(), (["query", "folder"], "name_not_usable")),
        ("name=a.png", {"Content-Digest": ""}, png(), (DIGEST, "malformed")),
        ("name=a.png", {"Content-Digest": "sha-256=:YQ==:"}, png(), (DIGEST, "malformed")),
        ("name=a.png", {"Content-Digest": digest_of(b"x")}, png(), (DIGEST, "digest_mismatch")),
        ("name=a.png", {}, b"", (["body"], "empty")),
        ("name=a.png", {}, b"<svg xmlns='http://www.w3.org/2000/svg'/>", (["body"], "not_an_image")),
        ("name=a.png", {}, png_of(0, 5, b""), (["body"], "not_an_image")),
        ("name=a.png", {}, png()[:18], (["body"], "not_an_image")),
        ("name=a.jpg", {}, b"\xff\xd8\xff\xe0" + b"\xff\xff" * 5000, (["body"], "not_an_image")),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_stored_is_a_422_and_leaves_nothing(
    pictograph: Pictograph, sandbox: Sandbox, dataset: Any, query: str, headers: Any, body: bytes, fault: Any
) -> None:
    path = f"/v1/datasets/{dataset['id']}/images?{query}"
    before = files_of(sandbox)
    answer = pictograph("POST", path, headers={"Content-Digest": digest_of(body)} | headers, body=body)

    is_refusal(answer, 422, ValidationError, "validation_failed")
    assert types_of(answer) == [fault]
    assert files_of(sandbox) == before
    assert pictograph.made("GET", f"/v1/datasets/{dataset['id']}/images")["items"] == []


def test_a_file_without_a_digest_is_refused(pictograph: Pictograph, dataset: Any) -> None:
    answer = pictograph("POST", f"/v1/datasets/{dataset['id']}/images?name=a.png", body=png())
    assert types_of(answer) == [(["header", "content-digest"], "missing")]


def test_a_file_above_two_gigabytes_is_refused_before_it_is_sent(
    pictograph: Pictograph, dataset: Any
) -> None:
    headers = {"Content-Length": str(2**31 + 1)}
    answer = pictograph.upload(dataset["id"], "large.png", png(), headers=headers)
    is_refusal(answer, 413, ApiError, "payload_too_large")


def files_of(sandbox: Sandbox) -> set[str]:
    """All files that the service has stored."""
    folder = sandbox.pictograph._storage.files
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_deleted_image_is_gone_with_its_file(
    pictograph: Pictograph, sandbox: Sandbox, dataset: Any
) -> None:
    image = pictograph.image(dataset["id"], "a.png")
    assert f"images/{image['id']}" in files_of(sandbox)

    pictograph.made("DELETE", f"/v1/images/{image['id']}")

    assert f"images/{image['id']}" not in files_of(sandbox)
    is_refusal(pictograph("GET", f"/v1/images/{image['id']}"), 404, NotFoundError, "image_not_found")
    assert pictograph.upload(dataset["id"], "a.png", png()).status == 201, "the name is free again"


def test_pages_are_stable_while_images_come_and_go(pictograph: Pictograph, dataset: Any) -> None:
    path = f"/v1/datasets/{dataset['id']}/images"
    images = [pictograph.image(dataset["id"], f"{at}.png")["id"] for at in range(5)]
    first = pictograph.made("GET", f"{path}?limit=2")
    pictograph.made("DELETE", f"/v1/images/{images[0]}")
    images.append(pictograph.image(dataset["id"], "later.png")["id"])
    rest, cursor = [], first["next_cursor"]
    while cursor:
        page = pictograph.made("GET", f"{path}?limit=2&cursor={cursor}")
        rest += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]

    assert [item["id"] for item in first["items"]] + rest == images
    found = pictograph.made("GET", f"{path}?name=3.png&folder=")["items"]
    assert [item["id"] for item in found] == [images[3]]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "cursor=x", "cursor=-1", "limit=" + "9" * 50]
)
def test_a_page_that_cannot_be_is_a_422(pictograph: Pictograph, query: str) -> None:
    answer = pictograph("GET", f"/v1/datasets?{query}")
    assert [where for where, _ in types_of(answer)] == [["query", query.split("=")[0]]]


def test_headers_of_all_kinds_of_images_are_read(pictograph: Pictograph, dataset: Any) -> None:
    exif = b"\xff\xe1" + struct.pack(">H", 60_002) + b"x" * 60_000
    size = b"\xff\xc0" + struct.pack(">HBHH", 17, 8, 30, 40) + b"\x03" + b"\0" * 9
    webp = (
        b"RIFF\x00\x00\x00\x00WEBPVP8X\x0a\0\0\0\0\0\0\0"
        + (39).to_bytes(3, "little")
        + (29).to_bytes(3, "little")
    )
    kinds = {
        "jpeg": b"\xff\xd8" + exif * 30 + size + b"\xff\xd9",
        "gif": b"GIF89a" + struct.pack("<HH", 40, 30) + b"\0\0\0;",
        "bmp": b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 40, -30) + b"\0" * 28,
        "webp": webp + b"\0" * 30,
    }
    for kind, data in kinds.items():
        image = pictograph.image(dataset["id"], f"a.{kind}", data)
        assert (image["content_type"], image["width"], image["height"]) == (f"image/{kind}", 40, 30)


# --- annotations ---

BOX = {"name": "person", "type": "bbox", "bbox": {"x": 0, "y": 0, "w": 8, "h": 8}}
RING = [{"x": 0, "y": 0}, {"x": 8, "y": 0}, {"x": 8, "y": 8}]


def polygon(value: Any) -> dict[str, Any]:
    return {"name": "roof", "type": "polygon", "polygon": value}


@pytest.fixture
def place(pictograph: Pictograph, dataset: Any) -> str:
    """The path of the annotations of an image of 8 x 8 pixels."""
    return f"/v1/images/{pictograph.image(dataset['id'], 'a.png')['id']}/annotations"


def test_annotations_are_kept_and_polygons_become_rings(pictograph: Pictograph, place: str) -> None:
    assert pictograph.made("GET", place)["version"] == 0
    given = [
        {**BOX, "id": "mine", "confidence": 0.5},
        polygon(RING),
        polygon([RING]),
        polygon([[0, 0], [8, 0], [8, 8]]),
    ]
    saved = pictograph.made("PUT", place, {"annotations": given})

    assert saved == pictograph.made("GET", place)
    assert (saved["version"], saved["annotations"][0]) == (1, given[0])
    assert [each["polygon"] for each in saved["annotations"][1:]] == [[RING]] * 3
    assert len({each["id"] for each in saved["annotations"]}) == 4


@pytest.mark.parametrize(
    ("annotation", "faults"),
    [
        ({"class": "person", "type": "bbox"},
         [(["class"], "class_not_name"), (["name"], "missing"), (["bbox"], "missing")]),
        (polygon([0, 0, 8, 0, 8, 8]), [(["polygon"], "flat_polygon")]),
        (polygon([[0, 0, 8, 0, 8, 8]]), [(["polygon", 0], "flat_polygon")]),
        (polygon([RING[:2]]), [(["polygon", 0], "too_short")]),
        (polygon([]), [(["polygon"], "list_type")]),
        (polygon({"x": 1}), [(["polygon"], "list_type")]),
        (polygon([[{"x": 0}, *RING]]), [(["polygon", 0, 0, "y"], "missing")]),
        (polygon([[*RING, {"x": 9, "y": 0}]]), [(["polygon", 0, 3], "outside_image")]),
        ({**BOX, "bbox": {"x": 0, "y": 0, "w": 9, "h": 8}}, [(["bbox"], "outside_image")]),
        ({**BOX, "bbox": {"x": -1, "y": 0, "w": 2, "h": 8}}, [(["bbox"], "outside_image")]),
        ({**BOX, "bbox": {"x": 0, "y": 0, "w": 0, "h": 8}}, [(["bbox"], "empty_box")]),
        ({**BOX, "bbox": {"x": "0", "y": 0, "w": 1, "h": True}},
         [(["bbox", "x"], "float_type"), (["bbox", "h"], "float_type")]),
        ({**BOX, "bbox": [0, 0, 1, 1]}, [(["bbox"], "dict_type")]),
        ({**BOX, "bbox": {"x": 0, "y": 0, "w": 1, "h": 10**400}}, [(["bbox", "h"], "float_type")]),
        ({**BOX, "type": "circle"}, [(["type"], "literal_error")]),
        ({**BOX, "type": ["bbox"]}, [(["type"], "literal_error")]),
        ({"name": "a", "bbox": {}}, [(["type"], "missing")]),
        ({**BOX, "name": ""}, [(["name"], "string_type")]),
        ({**BOX, "name": 7}, [(["name"], "string_type")]),
        ({**BOX, "id": 7}, [(["id"], "string_type")]),
        ({**BOX, "confidence": 1.5}, [(["confidence"], "out_of_range")]),
        ({**BOX, "colour": "red"}, [(["colour"], "extra_forbidden")]),
        ("person", [([], "dict_type")]),
        (None, [([], "dict_type")]),
    ],
)  # fmt: skip
def test_an_annotation_that_cannot_be_is_a_422_saying_where(
    pictograph: Pictograph, place: str, annotation: Any, faults: list[tuple[list[Any], str]]
) -> None:
    answer = pictograph("PUT", place, {"annotations": [BOX, annotation]})

    is_refusal(answer, 422, ValidationError, "validation_failed")
    assert types_of(answer) == [(["body", "annotations", 1, *where], kind) for where, kind in faults]
    assert pictograph.made("GET", place)["version"] == 0, "nothing was saved"


def test_hostile_bodies_are_refused_and_not_repeated(pictograph: Pictograph, place: str) -> None:
    deep = b'{"annotations":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    for body in (b"{", b"\xff\xfe", deep, b'{"annotations": [NaN]}', b"[]", b'{"annotations": 7}'):
        assert pictograph("PUT", place, body=body).status in (400, 422)
    secret = "s3cret-" * 20
    answer = pictograph("PUT", place, {"annotations": [{secret: secret, "name": [secret]}]})
    assert (answer.status, secret in answer.body.decode()) == (422, False)
    many = pictograph("PUT", place, {"annotations": [7] * 10_001})
    assert types_of(many) == [(["body", "annotations"], "too_long")]
    assert len(types_of(pictograph("PUT", place, {"annotations": [7] * 5000}))) == 100


def test_a_change_of_what_somebody_else_changed_is_a_409(pictograph: Pictograph, place: str) -> None:
    assert pictograph.made("PUT", place, {"annotations": [BOX], "version": 0})["version"] == 1
    late = pictograph("PUT", place, {"annotations": [], "version": 0})
    found = is_refusal(late, 409, ConflictError, "version_conflict")

    assert (found.failure.details["expected"], found.failure.details["version"]) == (0, 1)
    assert pictograph("PUT", place, {"annotations": []}, headers={"If-Match": '"0"'}).status == 409
    assert pictograph("PUT", place, {"annotations": []}, headers={"If-Match": 'W/"x"'}).status == 409
    assert pictograph.made("PUT", place, {"annotations": []}, headers={"If-Match": '"1"'})["version"] == 2
    assert pictograph.made("PUT", place, {"annotations": [BOX]})["version"] == 3, "without a version"


# --- exports, training, models ---


def test_an_export_is_a_coco_file(pictograph: Pictograph, dataset: Any) -> None:
    image = pictograph.image(dataset["id"], "a.png", png(40, 30), folder="x")
    found = [{**BOX, "name": "ä"}, polygon(RING), BOX]
    pictograph.made("PUT", f"/v1/images/{image['id']}/annotations", {"annotations": found})
    pictograph.image(dataset["id"], "b.png")
    export = pictograph.exported(dataset["id"], "v1")
    file = pictograph("GET", f"/v1/exports/{export['id']}/download")
    coco = json.loads(file.body)

    assert (export["image_count"], export["annotation_count"], export["progress"]) == (2, 3, 1.0)
    assert (export["size"], digest_of(file.body)) == (len(file.body), file.headers["content-digest"])
    assert [each["file_name"] for each in coco["images"]] == ["x/a.png", "b.png"]
    assert [each["name"] for each in coco["categories"]] == ["ä", "roof", "person"]
    assert [each["category_id"] for each in coco["annotations"]] == [1, 2, 3]
    assert coco["annotations"][1]["segmentation"] == [[0, 0, 8, 0, 8, 8]]
    assert (coco["annotations"][1]["area"], coco["annotations"][1]["bbox"]) == (32, [0, 0, 8, 8])
    answer = pictograph("POST", f"/v1/datasets/{dataset['id']}/exports", {"name": "v1"})
    is_refusal(answer, 409, ConflictError, "export_exists")


@pytest.fixture(scope="module")
def trained(pictograph: Pictograph) -> Any:
    """A completed training run of `boxes`."""
    pictograph.annotated("boxes")
    run = pictograph.made(
        "POST", "/v1/training", {"dataset_name": "boxes", "export_name": "v1", "pipeline_type": "yolox"}
    )
    assert (run["status"], run["progress"], run["cost"]) == ("queued", 0, 50)
    return pictograph.ended(f"/v1/training/{run['id']}")


def test_an_import_copies_what_is_not_there_with_its_annotations(
    pictograph: Pictograph, sandbox: Sandbox, dataset: Any
) -> None:
    source = pictograph.dataset(f"source-{uuid4()}")
    images = {
        name: pictograph.image(source["id"], name, png(9, 9 + at), folder="a/b")
        for at, name in enumerate(("0.png", "1.png", "2.png"))
    }
    box = {"name": "red", "type": "bbox", "bbox": {"x": 1, "y": 1, "w": 2, "h": 2}}
    pictograph.made("PUT", f"/v1/images/{images['0.png']['id']}/annotations", {"annotations": [box]})
    pictograph.image(dataset["id"], "1.png", png(20, 20), folder="a/b")
    asked = {"source_dataset_id": source["id"]}
    begun = pictograph.made("POST", f"/v1/datasets/{dataset['id']}/imports", asked)
    done = pictograph.ended(f"/v1/imports/{begun['id']}")
    copies = pictograph.made("GET", f"/v1/datasets/{dataset['id']}/images")["items"]

    assert (done["status"], done["imported"], done["skipped"], done["progress"]) == ("completed", 2, 1, 1.0)
    assert pictograph.made("GET", f"/v1/imports?dataset_id={dataset['id']}")["items"] == [done]
    assert [(i["folder"], i["name"], i["height"]) for i in copies] == [
        ("a/b", "1.png", 20), ("a/b", "0.png", 9), ("a/b", "2.png", 11),
    ]  # fmt: skip
    kept = pictograph.made("GET", f"/v1/images/{copies[1]['id']}/annotations")
    assert (kept["version"], [each["name"] for each in kept["annotations"]]) == (1, ["red"])
    # A copy of its own: what it was copied from may go.
    pictograph.made("DELETE", f"/v1/datasets/{source['id']}")
    assert pictograph("GET", f"/v1/images/{copies[2]['id']}/content").body == png(9, 11)
    ended = pictograph("POST", f"/v1/imports/{begun['id']}/cancel")
    is_refusal(ended, 409, ConflictError, "job_ended")


def test_what_cannot_be_imported_is_refused(pictograph: Pictograph, sandbox: Sandbox, dataset: Any) -> None:
    path = f"/v1/datasets/{dataset['id']}/imports"
    itself = pictograph("POST", path, {"source_dataset_id": dataset["id"]})
    assert types_of(itself) == [(["body", "source_dataset_id"], "same_dataset")]
    theirs = Pictograph(sandbox.pictograph, sandbox.pictograph.keys.other_tenant).dataset(f"x-{uuid4()}")
    for missing in ("ds_none", theirs["id"]):
        answer = pictograph("POST", path, {"source_dataset_id": missing})
        is_refusal(answer, 404, NotFoundError, "dataset_not_found")
    is_refusal(pictograph("GET", "/v1/imports/imp_none"), 404, NotFoundError, "import_not_found")


def test_a_trained_model_predicts_what_it_was_shown(
    pictograph: Pictograph, trained: Any, dataset: Any
) -> None:
    assert trained["status"] == "completed", trained
    assert (trained["progress"], trained["epoch"], trained["attempts"]) == (1.0, 30, 1)
    model = pictograph.made("GET", f"/v1/models/{trained['model_id']}")
    assert model["classes"] == ["blue", "red"]
    assert "linear classifier" in model["metrics"]["trainer"]
    new = png(96, 64, [((10, 12, 24, 24), RED), ((60, 30, 30, 16), BLUE)])
    image = pictograph.image(dataset["id"], "new.png", new)
    found = pictograph.made("POST", f"/v1/models/{model['id']}/predict", {"image_id": image["id"]})

    assert {each["name"]: each["bbox"] for each in found["annotations"]} == {
        "red": {"x": 10, "y": 12, "w": 24, "h": 24},
        "blue": {"x": 60, "y": 30, "w": 30, "h": 16},
    }
    empty = pictograph.image(dataset["id"], "empty.png", png(96, 64))
    assert (
        pictograph.made("POST", f"/v1/models/{model['id']}/predict", {"image_id": empty["id"]})["annotations"]
        == []
    )


def test_an_image_that_cannot_be_decoded_is_a_422_and_a_bomb_is_not_decoded(
    pictograph: Pictograph, trained: Any, dataset: Any
) -> None:
    broken = pictograph.image(dataset["id"], "broken.png", png_of(90, 60, b"nonsense"))
    bomb = pictograph.image(dataset["id"], "bomb.png", png_of(60_000, 60_000, b"\0" * 100))
    path = f"/v1/models/{trained['model_id']}/predict"

    answer = pictograph("POST", path, {"image_id": broken["id"]})
    assert types_of(answer) == [(["body", "image_id"], "not_decodable")]
    answer = pictograph("POST", path, {"image_id": bomb["id"]})
    assert types_of(answer) == [(["body", "image_id"], "too_large_to_decode")]


def test_a_batch_is_annotated_by_the_model_and_by_segmentation(
    pictograph: Pictograph, trained: Any, dataset: Any
) -> None:
    data = png(96, 64, [((10, 12, 24, 24), RED)])
    ids = [pictograph.image(dataset["id"], f"{at}.png", data)["id"] for at in range(3)]
    pictograph.image(dataset["id"], "broken.png", png_of(90, 60, b"nonsense"))
    paths = [f"/v1/images/{image_id}/annotations" for image_id in ids]
    kept = pictograph.made("PUT", paths[0], {"annotations": [BOX]})
    job = pictograph.made(
        "POST", "/v1/auto-annotate", {"dataset_id": dataset["id"], "model_id": trained["model_id"]}
    )
    done = pictograph.ended(f"/v1/auto-annotate/{job['id']}")

    assert (done["status"], done["annotated"], done["skipped"], done["failed"]) == ("completed", 2, 1, 1)
    assert (done["cost"], done["method"]) == (4, "model")
    assert pictograph.made("GET", paths[0]) == kept, "what people annotated is left alone"
    (found,) = pictograph.made("GET", paths[1])["annotations"]
    assert (found["name"], found["bbox"]) == ("red", {"x": 10, "y": 12, "w": 24, "h": 24})

    job = pictograph.made(
        "POST", "/v1/auto-annotate",
        {"dataset_id": dataset["id"], "name": "thing", "image_ids": ids[:1], "overwrite": True},
    )  # fmt: skip
    done = pictograph.ended(f"/v1/auto-annotate/{job['id']}")
    (found,) = pictograph.made("GET", paths[0])["annotations"]
    assert (done["method"], done["annotated"], found["name"], found["type"]) == (
        "segmentation", 1, "thing", "polygon",
    )  # fmt: skip
    corners = {(point["x"], point["y"]) for point in found["polygon"][0]}
    assert corners == {(10, 12), (34, 12), (34, 36), (10, 36)}


def test_what_cannot_be_trained_is_refused(pictograph: Pictograph, dataset: Any) -> None:
    asked = {"dataset_name": dataset["name"], "export_name": "v1", "pipeline_type": "yolox"}
    answer = pictograph("POST", "/v1/training", asked)
    is_refusal(answer, 404, NotFoundError, "export_not_found")
    answer = pictograph("POST", "/v1/training", {**asked, "dataset_name": "nothing"})
    is_refusal(answer, 404, NotFoundError, "dataset_not_found")
    pictograph.exported(dataset["id"], "v1")
    assert types_of(pictograph("POST", "/v1/training", asked)) == [
        (["body", "export_name"], "nothing_to_learn")
    ]
    answer = pictograph("POST", "/v1/training", {**asked, "pipeline_type": "magic"})
    assert types_of(answer) == [(["body", "pipeline_type"], "literal_error")]
    answer = pictograph("POST", "/v1/training", {**asked, "config": {"epochs": 0}})
    assert types_of(answer) == [(["body", "config", "epochs"], "greater_than_equal")]


def test_a_training_that_fails_says_why_and_gives_the_credits_back(
    pictograph: Pictograph, sandbox: Sandbox
) -> None:
    key = sandbox.pictograph.new_key(tenant="paying")
    sandbox.pictograph.database.store.grant("paying", 60, "credits")
    paying = Pictograph(sandbox.pictograph, key)
    dataset = paying.dataset("one label")
    image = paying.image(dataset["id"], "a.png")
    paying.made("PUT", f"/v1/images/{image['id']}/annotations", {"annotations": [BOX]})
    paying.exported(dataset["id"], "v1")
    asked = {"dataset_name": "one label", "export_name": "v1", "pipeline_type": "yolox"}
    run = paying.made("POST", "/v1/training", asked)
    failed = paying.ended(f"/v1/training/{run['id']}")

    assert (failed["status"], failed["error"]["code"]) == ("failed", "one_class")
    assert [each["amount"] for each in paying.made("GET", "/v1/credits")["items"]] == [60, -50, 50]
    paying.made("POST", "/v1/training", {**asked, "config": {"epochs": 100_000}})
    answer = paying("POST", "/v1/training", asked)
    if answer.status != 201:  # else the second one has failed, too, and was paid back by now
        found: PaymentRequiredError = is_refusal(answer, 402, PaymentRequiredError, "insufficient_credits")
        assert (found.required, found.remaining) == (50, 10)


def test_who_cannot_pay_is_told_what_is_needed_what_is_left_and_where_to_buy(
    pictograph: Pictograph, sandbox: Sandbox
) -> None:
    poor = Pictograph(sandbox.pictograph, sandbox.pictograph.new_key(tenant="hooli"))
    dataset = poor.annotated(f"poor-{uuid4()}", images=1)
    key = {"Idempotency-Key": str(uuid4())}
    asked = {"dataset_name": dataset["name"], "export_name": "v1", "pipeline_type": "yolox"}
    answer = poor("POST", "/v1/training", asked, headers=key)

    found: PaymentRequiredError = is_refusal(answer, 402, PaymentRequiredError, "insufficient_credits")
    assert (found.required, found.remaining) == (50, 3)
    assert found.upgrade_url == "https://pictograph.example/billing/upgrade"
    assert poor.made("GET", "/v1/training")["items"] == [], "nothing was queued"
    assert sandbox.pictograph.effects(key["Idempotency-Key"]) == 0


def test_a_long_training_tells_its_progress_and_can_be_cancelled(
    pictograph: Pictograph, trained: Any
) -> None:
    asked = {
        "dataset_name": "boxes", "export_name": "v1", "pipeline_type": "yolox",
        "config": {"epochs": 100_000},
    }  # fmt: skip
    run = pictograph.made("POST", "/v1/training", asked)
    path = f"/v1/training/{run['id']}"

    def far() -> Any:
        answer = pictograph("GET", path)
        assert answer.headers["retry-after"] == "1"
        return said(answer)["epoch"] > 0

    until(far, "it makes no progress")
    cancelled = pictograph.made("POST", f"{path}/cancel")
    assert cancelled["status"] == "cancelled"
    assert cancelled["model_id"] is None
    is_refusal(pictograph("POST", f"{path}/cancel", {}), 409, ConflictError, "job_ended")
    assert pictograph.made("GET", "/v1/training?status=cancelled")["items"][0]["id"] == run["id"]


# --- the rest ---


def test_a_draining_service_and_a_locked_database_are_503(pictograph: Pictograph, sandbox: Sandbox) -> None:
    with sandbox.pictograph.draining():
        is_refusal(pictograph("GET", "/v1/datasets"), 503, ServerError, "draining")
    with sandbox.pictograph.locked():
        is_refusal(pictograph("POST", "/v1/datasets", {"name": "x"}), 503, ServerError, "unavailable")


def test_what_is_not_served_is_a_404_or_405(pictograph: Pictograph) -> None:
    is_refusal(pictograph("GET", "/v1/nothing"), 404, NotFoundError, "not_found")
    is_refusal(pictograph("PATCH", "/v1/datasets"), 405, ApiError, "method_not_allowed")
    assert pictograph("GET", "/livez", key=None).status == 200
    assert pictograph("GET", "/readyz", key=None).status == 200
    assert "/v1/training" in said(pictograph("GET", "/openapi.json", key=None))["paths"]
