"""The sandbox's Scopix over real HTTP: who may what, and how images and documents are stored."""

from __future__ import annotations

import hashlib
import io
import threading
from uuid import uuid4

import pytest
from pictograph_caller import RED, digest_of, png
from sandbox_caller import said
from scopix_caller import Scopix, error, faults_of, is_refusal, pdf

from failwell.answer import Answer
from failwell.service import Limit
from failwell.service.check import check
from failwell_sandbox.scopix.accounts import set_account
from scopix.errors import (
    AuthenticationError,
    DocumentProcessingError,
    PaymentRequiredError,
    QuotaExceededError,
    RateLimitError,
    ResourceNotFoundError,
    ScopixConflictError,
    ScopixPermissionError,
    ServerError,
    UploadError,
    ValidationError,
)

TEXT = b"The owl sleeps by day. It hunts mice at night."


def test_every_error_that_a_handler_raises_is_declared(scopix: Scopix) -> None:
    assert scopix.service.service is not None
    check(scopix.service.service)


# --- keys, scopes, plans ---


def test_keys_that_do_not_open_are_401(scopix: Scopix) -> None:
    keys = scopix.service.keys
    for key, reason in (
        ("nonsense", "api_key_malformed"),
        (keys.unknown, "api_key_invalid"),
        (keys.revoked, "api_key_revoked"),
        (keys.expired, "api_key_expired"),
        (None, "api_key_missing"),
    ):
        answer = scopix("GET", "/v1/files", key=key)
        is_refusal(answer, 401, AuthenticationError, "AUTH_ERROR", reason=reason)


def test_a_key_that_reads_does_not_write(scopix: Scopix) -> None:
    reader = scopix.service.keys.read_only

    assert scopix("GET", "/v1/files", key=reader).status == 200
    answer = scopix.upload("a.txt", TEXT, key=reader)
    is_refusal(answer, 403, ScopixPermissionError, "PERMISSION_DENIED", reason="insufficient_scope")


def test_a_suspended_account_is_a_403(scopix: Scopix) -> None:
    answer = scopix("GET", "/v1/files", key=scopix.service.keys.suspended)
    is_refusal(answer, 403, ScopixPermissionError, "PERMISSION_DENIED", reason="tenant_suspended")


def test_each_plan_has_its_limit_and_a_key_may_have_its_own(scopix: Scopix) -> None:
    service = scopix.service
    once = service.new_key(limit=Limit(1, 3600.0))

    for plan, limit in (("free", "60"), ("pro", "600"), ("enterprise", "60000")):
        answer = scopix("GET", "/v1/usage", key=service.new_key(tier=plan))
        assert answer.headers["x-ratelimit-limit"] == limit
        assert said(answer)["plan"] == plan
    assert scopix("GET", "/v1/files", key=once).status == 200
    refused = is_refusal(scopix("GET", "/v1/files", key=once), 429, RateLimitError, "RATE_LIMIT")
    assert 120 < refused.retry_after <= 3660
    assert (refused.limit, refused.remaining) == (1, 0)


def test_an_account_that_is_past_due_reads_and_does_not_write(scopix: Scopix) -> None:
    past_due = scopix.of("umbrella")
    begun = {"filename": "a.mp4", "size": 9}

    assert past_due.made("GET", "/v1/usage")["past_due"] is True
    assert past_due.made("GET", "/v1/files") == {"items": [], "next_cursor": None}
    for answer in (
        past_due.upload("a.txt", TEXT),
        past_due("POST", "/v1/videos", begun),
        past_due("POST", "/v1/chat/sessions", {}),
        past_due("POST", "/v1/files/sessions", {"filename": "a.txt", "size": 9}),
        past_due("DELETE", "/v1/files/img_1"),
    ):
        is_refusal(answer, 402, PaymentRequiredError, "PAYMENT_REQUIRED", reason="past_due")


def test_a_service_that_ends_or_is_locked_is_a_503(scopix: Scopix) -> None:
    with scopix.service.draining():
        is_refusal(scopix("GET", "/v1/files"), 503, ServerError, "SERVER_ERROR", reason="draining")
    with scopix.service.locked():
        answer = scopix("POST", "/v1/chat/sessions", {"title": "locked"})
        is_refusal(answer, 503, ServerError, "SERVER_ERROR", reason="unavailable")
        assert scopix("GET", "/v1/files").status == 200


def test_accounts_cannot_see_each_other(scopix: Scopix) -> None:
    mine, other = (
        scopix.file(f"{uuid4()}.txt", TEXT),
        Scopix(scopix.service, scopix.service.keys.other_tenant),
    )

    for method, path in (
        ("GET", f"/v1/files/{mine['id']}"),
        ("GET", f"/v1/files/{mine['id']}/content"),
        ("DELETE", f"/v1/files/{mine['id']}"),
    ):
        answer = other(method, path)
        is_refusal(
            answer, 404, ResourceNotFoundError, "NOT_FOUND", resource_type="file", resource_id=mine["id"]
        )
    asked = {"files": [{"name": mine["name"], "sha256": mine["sha256"]}]}
    assert other.made("POST", "/v1/files/lookup", asked) == {"items": [None]}
    assert mine["id"] not in other("GET", "/v1/files?limit=1000").body.decode()


# --- in one request ---


def test_a_file_is_stored_as_it_was_sent(scopix: Scopix) -> None:
    data = png(64, 32)
    file = scopix.file("as sent.png", data)
    answer = scopix("GET", f"/v1/files/{file['id']}/content")

    assert (file["kind"], file["size"], file["content_type"]) == ("image", len(data), "image/png")
    assert file["sha256"] == hashlib.sha256(data).hexdigest()
    assert (answer.status, answer.body) == (200, data)
    assert answer.headers["content-digest"] == answer.headers["repr-digest"] == digest_of(data)
    assert answer.headers["etag"] == f'"{file["sha256"]}"'
    assert said(scopix("GET", f"/v1/files/{file['id']}"))["name"] == "as sent.png"


def test_an_equal_file_is_the_one_that_is_there(scopix: Scopix) -> None:
    account = scopix.of(f"equal-{uuid4()}")
    first = account.file("owl.txt", TEXT)
    again = account.upload("owl.txt", TEXT)
    other = account.file("owl.txt", TEXT + b"!")

    assert (again.status, said(again)["id"]) == (200, first["id"])
    assert other["id"] != first["id"]
    assert account.made("GET", "/v1/usage")["bytes"]["used"] == 2 * len(TEXT) + 1
    known = {"name": "owl.txt", "sha256": first["sha256"]}
    unknown = {"name": "fox.txt", "sha256": first["sha256"]}
    found = account.made("POST", "/v1/files/lookup", {"files": [unknown, known]})["items"]
    assert [each and each["id"] for each in found] == [None, first["id"]]


def test_a_repeated_upload_is_told_what_the_first_was_told(scopix: Scopix) -> None:
    name, key = f"{uuid4()}.txt", {"Idempotency-Key": str(uuid4())}
    first, again = (scopix.upload(name, TEXT, key) for _ in range(2))

    assert (first.status, again.status) == (201, 201)
    assert again.headers["idempotent-replayed"] == "true"
    assert said(first) == said(again)
    assert scopix.service.effects(name=name) == 1
    answer = scopix.upload(name, TEXT + b"!", key)
    is_refusal(answer, 409, ScopixConflictError, "IDEMPOTENCY_CONFLICT")


def test_what_kind_of_file_it_is_is_told_by_its_name_or_its_bytes(scopix: Scopix) -> None:
    for name, data, kind, media_type in (
        ("a.JPG", b"no image at all", "image", "image/jpeg"),
        ("nothing-said", png(), "image", "image/png"),
        ("notes", "Käuze".encode(), "document", "text/plain"),
        ("paper", b"%PDF-1.4 broken", "document", "application/pdf"),
        ("table.csv", b"a,b\n1,2\n", "document", "text/csv"),
    ):
        file = scopix.file(name, data)
        assert (file["kind"], file["content_type"]) == (kind, media_type), name


@pytest.mark.parametrize(
    ("name", "data", "path", "code"),
    [
        ("a.bin", b"\0\1\2", ["body"], "unknown_kind"),
        ("latin", "Käuze".encode("latin-1"), ["body"], "unknown_kind"),
        ("a.mp4", b"any", ["query", "name"], "is_a_video"),
        ("a.txt", b"", ["body"], "empty"),
        ("a/b.txt", b"any", ["query", "name"], "name_not_usable"),
        ("..", b"any", ["query", "name"], "name_not_usable"),
        ("a\nb.txt", b"any", ["query", "name"], "name_not_usable"),
        ("", b"any", ["query", "name"], "name_not_usable"),
    ],
)
def test_what_cannot_be_stored_is_told_where_it_is_at_fault(
    scopix: Scopix, name: str, data: bytes, path: list[str], code: str
) -> None:
    answer = scopix.upload(name, data)

    is_refusal(answer, 422, ValidationError, "VALIDATION_ERROR")
    assert faults_of(answer) == [(path, code)]


def test_a_digest_that_is_missing_malformed_or_wrong_is_refused(scopix: Scopix) -> None:
    name = f"{uuid4()}.txt"
    wrong = scopix.upload(name, TEXT, {"Content-Digest": digest_of(b"another")})
    odd = scopix.upload(name, TEXT, {"Content-Digest": "sha-256=:AAAA:"})
    none = scopix("POST", f"/v1/files?name={name}", body=TEXT)

    is_refusal(
        wrong, 422, UploadError, "UPLOAD_ERROR", stage="upload", filename=name, reason="digest_mismatch"
    )
    assert faults_of(odd) == [(["header", "content-digest"], "malformed")]
    assert faults_of(none) == [(["header", "content-digest"], "missing")]
    assert scopix.made("GET", f"/v1/files?name={name}")["items"] == []


def test_a_file_that_is_too_large_for_one_request_is_refused_before_it_is_sent(scopix: Scopix) -> None:
    headers = {"Content-Length": str(65 * 1024 * 1024), "Content-Digest": digest_of(b"")}
    answer = scopix("POST", "/v1/files?name=large.txt", headers=headers, body=b"")

    is_refusal(answer, 413, ValidationError, "VALIDATION_ERROR", reason="payload_too_large")


# --- ranges ---


@pytest.mark.parametrize(
    ("field", "status", "part"),
    [
        ("bytes=4-6", 206, slice(4, 7)),
        ("bytes=40-", 206, slice(40, None)),
        ("bytes=-5", 206, slice(-5, None)),
        ("bytes=0-9999", 206, slice(0, None)),
        ("bytes=3-1", 200, slice(0, None)),  # no range, so it is ignored
        ("lines=1-2", 200, slice(0, None)),
        ("bytes=0-1,4-5", 200, slice(0, None)),  # more than one is not served
    ],
)
def test_a_range_of_a_file_is_sent(scopix: Scopix, field: str, status: int, part: slice) -> None:
    file = said(scopix.upload("ranges.txt", TEXT))
    answer = scopix("GET", f"/v1/files/{file['id']}/content", headers={"Range": field})

    assert (answer.status, answer.body) == (status, TEXT[part])
    assert answer.headers["repr-digest"] == digest_of(TEXT)
    assert ("content-digest" in answer.headers) is (status == 200)
    if status == 206:
        start = TEXT.index(answer.body)
        assert answer.headers["content-range"] == f"bytes {start}-{start + len(answer.body) - 1}/{len(TEXT)}"


def test_a_range_behind_the_end_is_a_416_and_one_of_another_version_is_ignored(scopix: Scopix) -> None:
    file = said(scopix.upload("ranges.txt", TEXT))
    path = f"/v1/files/{file['id']}/content"
    behind = scopix("GET", path, headers={"Range": f"bytes={len(TEXT)}-"})
    same = scopix("GET", path, headers={"Range": "bytes=0-3", "If-Range": f'"{file["sha256"]}"'})
    other = scopix("GET", path, headers={"Range": "bytes=0-3", "If-Range": '"another"'})

    is_refusal(behind, 416, ValidationError, "VALIDATION_ERROR", reason="range_not_satisfiable")
    assert behind.headers["content-range"] == f"bytes */{len(TEXT)}"
    assert (same.status, same.body) == (206, TEXT[:4])
    assert (other.status, other.body) == (200, TEXT)
    head = scopix("HEAD", path)
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(TEXT)))


# --- in a session ---


def test_a_session_takes_a_file_in_three_stages(scopix: Scopix) -> None:
    name, data = f"{uuid4()}.txt", TEXT * 100
    begun = scopix("POST", "/v1/files/sessions", {"filename": name, "size": len(data)})
    session = said(begun)
    path = f"/v1/files/sessions/{session['session_id']}"
    early = scopix("POST", f"{path}/complete")
    sent = [
        scopix("PUT", session["upload_url"], headers={"Content-Digest": digest_of(data)}, body=data)
        for _ in range(2)
    ]
    done, again = (scopix("POST", f"{path}/complete") for _ in range(2))

    assert begun.status == 201
    is_refusal(
        early, 409, UploadError, "UPLOAD_ERROR", stage="complete", reason="content_missing",
        filename=name, session_id=session["session_id"],
    )  # fmt: skip
    assert [each.status for each in sent] == [200, 200]
    assert (done.status, again.status) == (201, 200)
    assert said(done)["id"] == said(again)["id"]
    assert scopix("GET", f"/v1/files/{said(done)['id']}/content").body == data
    late = scopix("PUT", session["upload_url"], headers={"Content-Digest": digest_of(data)}, body=data)
    is_refusal(late, 409, UploadError, "UPLOAD_ERROR", stage="upload", reason="session_completed")
    equal = {"filename": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    there = scopix.made("POST", "/v1/files/sessions", equal)
    assert (there["session_id"], there["file"]["id"]) == (None, said(done)["id"])


def test_what_a_session_did_not_announce_is_refused(scopix: Scopix) -> None:
    session = scopix.made("POST", "/v1/files/sessions", {"filename": "a.txt", "size": len(TEXT)})

    def sent(data: bytes, digest_of_data: bytes) -> Answer:
        headers = {"Content-Digest": digest_of(digest_of_data)}
        return scopix("PUT", session["upload_url"], headers=headers, body=data)

    for answer, reason in (
        (sent(TEXT + b"!", TEXT + b"!"), "size_mismatch"),
        (sent(TEXT[1:], TEXT[1:]), "size_mismatch"),
        (sent(TEXT, TEXT[1:]), "digest_mismatch"),
    ):
        is_refusal(answer, 422, UploadError, "UPLOAD_ERROR", stage="upload", reason=reason)
    is_refusal(
        scopix("PUT", "/v1/files/sessions/us_none/content", headers={"Content-Digest": digest_of(b"")}),
        404, ResourceNotFoundError, "NOT_FOUND", resource_type="upload_session",
    )  # fmt: skip


def test_an_upload_that_is_given_up_or_takes_too_long_gives_its_space_back(scopix: Scopix) -> None:
    account = scopix.of(f"space-{uuid4()}")
    database = scopix.service.database
    asked = {"filename": "a.txt", "size": 1000}
    first, second = (account.made("POST", "/v1/files/sessions", asked)["session_id"] for _ in range(2))

    assert account.made("GET", "/v1/usage")["files"]["used"] == 2
    account.made("DELETE", f"/v1/files/sessions/{first}")
    assert account.made("GET", "/v1/usage")["bytes"]["used"] == 1000
    database.write_blocking(
        lambda db: db.execute("UPDATE upload_sessions SET expires_at = 0 WHERE id = ?", second)
    )
    expired = account("POST", f"/v1/files/sessions/{second}/complete")
    is_refusal(expired, 409, UploadError, "UPLOAD_ERROR", reason="session_expired")


# --- quota ---


def test_a_full_account_takes_no_file_and_is_told_what_is_left(scopix: Scopix) -> None:
    account = scopix.of(f"small-{uuid4()}")
    tenant = said(account.upload("first.txt", TEXT))  # the account is there from now on
    set_account(scopix.service.database, _tenant_of(scopix, tenant["id"]), most_bytes=100, most_files=2)
    too_large = account.upload("second.txt", bytes(range(65, 90)) * 4)
    session = account("POST", "/v1/files/sessions", {"filename": "third.txt", "size": 55})
    second = account.upload("second.txt", TEXT + b"!")
    third = account.upload("third.txt", b"any")

    for answer in (too_large, session):
        left = is_refusal(answer, 429, QuotaExceededError, "QUOTA_EXCEEDED", unit="bytes", limit=100)
        assert (left.available, left.retry_after) == (100 - len(TEXT), None)
    assert second.status == 201
    full = is_refusal(third, 429, QuotaExceededError, "QUOTA_EXCEEDED", unit="files", limit=2)
    assert full.available == 0
    assert account.upload("first.txt", TEXT).status == 200, "it is there, and takes no space"
    account.looked_at(said(second))
    account.made("DELETE", f"/v1/files/{said(second)['id']}")
    assert account.upload("third.txt", b"any").status == 201


def _tenant_of(scopix: Scopix, file_id: str) -> str:
    ((tenant,),) = scopix.service.database.read_blocking("SELECT tenant FROM files WHERE id = ?", file_id)
    return str(tenant)


def test_uploads_at_the_same_time_do_not_share_the_last_space(scopix: Scopix) -> None:
    account = scopix.of("hooli")
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda at=at: answers.append(account.upload(f"{at}.txt", b"%d" % at).status))
        for at in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answers) == [201] * 3 + [429] * 5
    assert account.made("GET", "/v1/usage")["files"] == {"used": 3, "limit": 3}


# --- what is found in them ---


def test_an_image_is_described_from_its_pixels(scopix: Scopix) -> None:
    pytest.importorskip("PIL", reason="needs the extra `scopix`")
    boxed = png(64, 32, [((0, 0, 40, 32), RED)])
    image, broken = scopix.looked_at(scopix.file("box.png", boxed), scopix.file("broken.png", TEXT))
    seen = image["description"]

    assert (image["description_status"], image["processing_status"]) == ("completed", None)
    assert (seen["width"], seen["height"], seen["format"], seen["orientation"]) == (
        64,
        32,
        "png",
        "landscape",
    )
    assert [each["name"] for each in seen["dominant_colours"]] == ["red", "white"]
    assert seen["dominant_colours"][0]["share"] == pytest.approx(40 / 64, abs=0.02)
    assert "64 x 32" in seen["text"]
    assert (broken["description_status"], broken["description"]) == ("failed", None)
    assert broken["description_error"] == "This is no image that can be decoded."


def test_the_camera_and_the_way_it_was_held_are_read_from_exif(scopix: Scopix) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs the extra `scopix`")
    exif, out = image.Exif(), io.BytesIO()
    exif[0x0112], exif[0x010F], exif[0x0110] = 6, "Owl\0", "Eye 2"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    image.new("RGBA", (40, 30), (0, 0, 255, 0)).save(out, "PNG", exif=exif)
    (file,) = scopix.looked_at(scopix.file("held.png", out.getvalue()))
    seen = file["description"]

    assert (seen["width"], seen["height"], seen["orientation"]) == (30, 40, "portrait")
    assert seen["exif"] == {"Make": "Owl", "Model": "Eye 2"}, "and not where it was"
    assert seen["transparent"] is True
    assert "Taken with Owl Eye 2." in seen["text"]


def test_documents_are_read_page_by_page(scopix: Scopix) -> None:
    pytest.importorskip("pypdf", reason="needs the extra `scopix`")
    paper, broken, binary = scopix.looked_at(
        scopix.file("paper.pdf", pdf("Owls hunt.", "Foxes sleep.")),
        scopix.file("broken.pdf", b"%PDF-1.4 nothing"),
        scopix.file("binary.txt", b"\xff\xfe\0"),
    )

    assert (paper["processing_status"], paper["pages"]) == ("completed", 2)
    assert paper["description_status"] == "skipped"
    assert (broken["processing_status"], broken["processing_error"]) == (
        "failed",
        "This is no PDF that can be read.",
    )
    assert binary["processing_error"] == "This is no text in UTF-8."
    assert scopix.made("DELETE", f"/v1/files/{broken['id']}") == {"id": broken["id"], "deleted": True}


def test_a_document_that_is_being_read_cannot_be_deleted(scopix: Scopix) -> None:
    file = scopix.document("busy.txt", "Busy.")
    database = scopix.service.database
    # As it is while somebody reads it, for long enough to ask.
    database.write_blocking(
        lambda db: db.execute(
            "UPDATE files SET status = 'processing', holder = 'a', held_until = {now} + 60 WHERE id = ?",
            file["id"],
        )
    )
    refused = is_refusal(
        scopix("DELETE", f"/v1/files/{file['id']}"), 409, DocumentProcessingError,
        "DOCUMENT_PROCESSING_ERROR", document_id=file["id"],
    )  # fmt: skip
    assert refused.details["status"] == "processing"
    database.write_blocking(
        lambda db: db.execute("UPDATE files SET status = 'completed' WHERE id = ?", file["id"])
    )
    assert scopix("DELETE", f"/v1/files/{file['id']}").status == 200


def test_a_list_goes_on_where_it_ended_and_takes_filters(scopix: Scopix) -> None:
    account = scopix.of(f"pages-{uuid4()}")
    made = [account.file(f"{at}.txt", b"Text %d" % at)["id"] for at in range(5)]
    image = account.file("a.png", png())
    found, cursor = [], "0"
    while cursor:
        page = account.made("GET", f"/v1/files?limit=2&cursor={cursor}")
        found += [each["id"] for each in page["items"]]
        cursor = page["next_cursor"]

    assert found == [*made, image["id"]]
    for query, wanted in (("kind=image", [image["id"]]), ("name=3.txt", [made[3]])):
        assert [each["id"] for each in account.made("GET", f"/v1/files?{query}")["items"]] == wanted
    account.looked_at(image)
    done = account.made("GET", "/v1/files?description_status=completed")["items"]
    assert [each["id"] for each in done] == [image["id"]]
    assert faults_of(account("GET", "/v1/files?limit=0")) == [(["query", "limit"], "out_of_range")]


def test_what_was_deleted_is_gone_with_its_bytes(scopix: Scopix) -> None:
    file = scopix.file(f"{uuid4()}.png", png(9, 9))
    ((stored,),) = scopix.service.database.read_blocking("SELECT stored FROM files WHERE id = ?", file["id"])
    folder = next(path for path in (scopix.service._storage.files / "files").iterdir() if path.name == stored)

    assert folder.is_file()
    assert scopix.made("DELETE", f"/v1/files/{file['id']}") == {"id": file["id"], "deleted": True}
    assert not folder.exists()
    for path in (f"/v1/files/{file['id']}", f"/v1/files/{file['id']}/content"):
        assert error(scopix("GET", path))["details"]["resource_id"] == file["id"]
