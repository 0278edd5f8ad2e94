"""Imports and exports: folders, and buckets of an S3 that listens on this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pictograph_caller import png
from scopix_caller import Scopix, faults_of, is_refusal

from failwell_sandbox.scopix.accounts import set_account
from failwell_sandbox.scopix.places import environment, fault_of_endpoint, is_path
from scopix.errors import CloudStorageError, ResourceNotFoundError, S3ConnectorError, ValidationError

pytest.importorskip("fsspec", reason="needs the extra `scopix`")

JOBS = "/v1/cloud-storage/jobs"
SECRET = "a-secret-that-nobody-sees"


class Account(Scopix):
    """An account with a folder."""

    def __init__(self, scopix: Scopix) -> None:
        self.tenant = f"cloud-{uuid4()}"
        super().__init__(scopix.service, scopix.service.new_key(tenant=self.tenant))
        self.folder = scopix.service._storage.files / "local" / self.tenant
        asked = {"name": "folder", "provider": "local", "options": {"path": ""}}
        self.connection = self.made("POST", "/v1/cloud-storage/connections", asked)["id"]

    def put(self, path: str, data: bytes) -> None:
        """A file in the folder."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)

    def copied(self, kind: str, **facts: Any) -> Any:
        """A job that copies, once it has ended."""
        asked = {"connection_id": self.connection, **facts}
        return self.ended(f"{JOBS}/{self.made('POST', f'/v1/cloud-storage/{kind}s', asked)['id']}")


@pytest.fixture
def account(scopix: Scopix) -> Account:
    return Account(scopix)


# --- folders ---


def test_an_export_and_an_import_carry_files_over(account: Account) -> None:
    image, text = account.file("a.png", png(9, 9)), account.file("b.txt", b"Some words.")
    out = account.copied("export", file_ids=[image["id"], text["id"]], prefix="out/of")

    assert (out["status"], out["result"]) == ("completed", {"succeeded": 2, "skipped": 0, "failed": 0})
    assert (account.folder / "out/of/a.png").read_bytes() == png(9, 9)
    assert [each["path"] for each in out["files"]] == ["out/of/a.png", "out/of/b.txt"]
    listed = account.made("GET", f"/v1/cloud-storage/connections/{account.connection}/files?limit=1")
    assert listed == {
        "items": [{"path": "out/of/a.png", "size": len(png(9, 9))}],
        "next_cursor": "out/of/a.png",
    }
    account.made("DELETE", f"/v1/files/{image['id']}")
    back = account.copied("import", files=["out/of/a.png", "out/of/b.txt", "out/of/none.txt"])
    assert back["result"] == {"succeeded": 1, "skipped": 1, "failed": 1}
    carried, there, missing = back["files"]
    assert account("GET", f"/v1/files/{carried['file_id']}/content").body == png(9, 9)
    assert (there["status"], there["file_id"]) == ("skipped", text["id"])
    assert (missing["status"], missing["error"]) == ("failed", "There is no such file.")


def test_files_of_one_name_do_not_overwrite_each_other(account: Account) -> None:
    first, second = account.file("a.txt", b"One."), account.file("a.txt", b"Two.")
    out = account.copied("export", file_ids=[first["id"], second["id"]])

    assert [each["path"] for each in out["files"]] == ["a.txt", f"a-{second['id']}.txt"]
    assert {path.read_bytes() for path in account.folder.iterdir()} == {b"One.", b"Two."}


def test_an_import_of_which_nothing_came_has_failed(account: Account) -> None:
    account.put("odd.bin", b"\0\1")
    failed = account.copied("import", files=["none.txt", "odd.bin"])

    assert (failed["status"], failed["error"]["code"]) == ("failed", "CLOUD_STORAGE_ERROR")
    assert failed["error"]["reason"] == "nothing_copied"
    assert failed["error"]["details"] == {"job_id": failed["id"], "job_status": "failed"}
    assert [each["error"] for each in failed["files"]] == [
        "There is no such file.",
        "This is no image, no video, no PDF and no text in UTF-8.",
    ]
    ended = account("POST", f"{JOBS}/{failed['id']}/cancel")
    is_refusal(ended, 409, CloudStorageError, "CLOUD_STORAGE_ERROR", reason="job_ended", job_id=failed["id"])


def test_an_import_takes_no_more_than_there_is_space_for(account: Account) -> None:
    set_account(account.service.database, account.tenant, most_bytes=100, most_files=1)
    account.put("a.txt", b"One.")
    account.put("b.txt", b"Two.")
    done = account.copied("import", files=["a.txt", "b.txt"])

    assert done["result"] == {"succeeded": 1, "skipped": 0, "failed": 1}
    assert done["files"][1]["error"] == "There is too little space: 0 files are left."
    assert account.made("GET", "/v1/usage")["files"]["used"] == 1


@pytest.mark.parametrize("path", ["../other/a.txt", "/etc/passwd", "a//b", ".", "a/../../b", "a\\b", "a\nb"])
def test_a_path_that_leads_elsewhere_is_refused(account: Account, path: str) -> None:
    asked = {"connection_id": account.connection, "files": [path]}
    answer = account("POST", "/v1/cloud-storage/imports", asked)
    assert faults_of(answer) == [(["body", "files", 0], "path")]
    new = {"name": "out", "provider": "local", "options": {"path": path}}
    answer = account("POST", "/v1/cloud-storage/connections", new)
    assert faults_of(answer) == [(["body", "options", "path"], "outside")]
    assert not is_path(path)


def test_a_link_that_leads_elsewhere_is_not_followed(account: Account, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("A secret.")
    account.put("kept.txt", b"Kept.")
    (account.folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (account.folder / "linked").symlink_to(tmp_path)
    done = account.copied("import", files=["link.txt", "linked/secret.txt"])
    listed = account.made("GET", f"/v1/cloud-storage/connections/{account.connection}/files")
    text = account.file("a.txt", b"One.")
    out = account.copied("export", file_ids=[text["id"]], prefix="linked")

    wrong = "The path leads out of what is the account's."
    assert [each["error"] for each in done["files"]] == [wrong, wrong]
    assert [each["path"] for each in listed["items"]] == ["kept.txt"]
    assert out["status"] == "failed"
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]


def test_a_folder_that_is_not_there_is_a_409(account: Account) -> None:
    asked = {"name": "none", "provider": "local", "options": {"path": "none"}}
    connection = account.made("POST", "/v1/cloud-storage/connections", asked)
    answer = account("GET", f"/v1/cloud-storage/connections/{connection['id']}/files")

    is_refusal(
        answer,
        409,
        CloudStorageError,
        "CLOUD_STORAGE_ERROR",
        reason="not_found",
        connection_id=connection["id"],
    )


def test_a_connection_that_is_deleted_is_forgotten(account: Account) -> None:
    path = f"/v1/cloud-storage/connections/{account.connection}"
    assert account.made("DELETE", path) == {"id": account.connection, "deleted": True}

    asked = {"connection_id": account.connection, "files": ["a.txt"]}
    for answer in (account("GET", path), account("POST", "/v1/cloud-storage/imports", asked)):
        is_refusal(answer, 404, ResourceNotFoundError, "NOT_FOUND", resource_type="connection")


# --- S3 ---


class Bucket:
    """A bucket of an S3 on this machine."""

    def __init__(self, client: Any, endpoint_url: str) -> None:
        self.client, self.endpoint_url = client, endpoint_url
        self.name = f"bucket-{uuid4()}"
        client.create_bucket(Bucket=self.name)

    def put(self, key: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=data)

    def get(self, key: str) -> bytes:
        data: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def facts(self, **more: Any) -> dict[str, Any]:
        """What a connection to it is made of."""
        return {
            "bucket": self.name, "endpoint_url": self.endpoint_url, "access_key_id": "an-id",
            "secret_access_key": SECRET, **more,
        }  # fmt: skip


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[Any, str]]:
    pytest.importorskip("s3fs", reason="needs the extra `scopix`")
    from botocore.session import get_session
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = get_session().create_client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="an-id",
            aws_secret_access_key="a-secret",
        )  # fmt: skip
        yield client, url
        client.close()
    finally:
        server.stop()


@pytest.fixture
def bucket(s3: tuple[Any, str]) -> Bucket:
    return Bucket(*s3)


def test_a_sync_imports_what_is_new_in_a_bucket(account: Account, bucket: Bucket) -> None:
    bucket.put("in/a.txt", b"One.")
    bucket.put("in/deep/b.png", png())
    bucket.put("elsewhere/c.txt", b"Three.")
    connector = account.made("POST", "/v1/s3-connectors", bucket.facts(name="in", prefix="in/"))

    def synced() -> Any:
        job = account.made("POST", f"/v1/s3-connectors/{connector['id']}/sync")
        return account.ended(f"/v1/s3-connectors/jobs/{job['id']}")

    first = synced()
    bucket.put("in/a.txt", b"One, changed.")
    second = synced()

    assert (first["kind"], first["connector_id"]) == ("sync", connector["id"])
    assert first["result"] == {"succeeded": 2, "skipped": 0, "failed": 0}
    assert [each["path"] for each in first["files"]] == ["a.txt", "deep/b.png"]
    assert second["result"] == {"succeeded": 1, "skipped": 1, "failed": 0}
    (changed,) = second["files"]
    assert account("GET", f"/v1/files/{changed['file_id']}/content").body == b"One, changed."


def test_files_go_to_a_bucket_and_come_back(account: Account, bucket: Bucket) -> None:
    asked = {"name": "s3", "provider": "s3", "options": bucket.facts(prefix="out")}
    account.connection = account.made("POST", "/v1/cloud-storage/connections", asked)["id"]
    text = account.file("a.txt", b"One.")
    out = account.copied("export", file_ids=[text["id"]])
    assert out["result"] == {"succeeded": 1, "skipped": 0, "failed": 0}
    assert bucket.get("out/a.txt") == b"One."

    bucket.put("out/b.txt", b"Two.")
    back = account.copied("import", files=["b.txt"])
    assert account("GET", f"/v1/files/{back['files'][0]['file_id']}/content").body == b"Two."


def test_secrets_are_in_no_answer_no_list_and_no_table_that_is_listed(
    account: Account, bucket: Bucket
) -> None:
    key = {"Idempotency-Key": str(uuid4())}
    asked = {"name": "s3", "provider": "s3", "options": bucket.facts()}
    answers = [account("POST", "/v1/cloud-storage/connections", asked, headers=key) for _ in range(2)]
    answers.append(account("POST", "/v1/s3-connectors", bucket.facts(name="in")))
    answers += [account("GET", path) for path in ("/v1/cloud-storage/connections", "/v1/s3-connectors")]

    for answer in answers:
        assert answer.status in (200, 201)
        assert SECRET.encode() not in answer.body
        assert b"an-id" not in answer.body
    rows = account.service.database.read_blocking("SELECT options FROM connections")
    assert SECRET not in str(rows)


def test_a_bucket_that_is_not_there_fails_the_job(account: Account, bucket: Bucket) -> None:
    connector = account.made("POST", "/v1/s3-connectors", bucket.facts(name="in", bucket="none-at-all"))
    job = account.made("POST", f"/v1/s3-connectors/{connector['id']}/sync")
    path = f"/v1/s3-connectors/jobs/{job['id']}"
    failed = account.ended(path)

    assert (failed["status"], failed["error"]["code"]) == ("failed", "S3_CONNECTOR_ERROR")
    assert (failed["error"]["reason"], failed["error"]["message"]) == (
        "not_found",
        "There is no such bucket.",
    )
    is_refusal(
        account("POST", f"{path}/cancel"), 409, S3ConnectorError, "S3_CONNECTOR_ERROR", job_status="failed"
    )
    account.made("DELETE", f"/v1/s3-connectors/{connector['id']}")
    assert account.made("GET", "/v1/s3-connectors")["items"] == []


ELSEWHERE = [
    "http://169.254.169.254/latest", "https://s3.amazonaws.com", "http://localhost.example:80",
    "http://user@127.0.0.1:80", "ftp://127.0.0.1", "http://0.0.0.0:80", "http://[::ffff:8.8.8.8]:80",
    "http://127.0.0.1:80/?a=b", "http://", "http://127.0.0.1:99999999", "http://[",
]  # fmt: skip


@pytest.mark.parametrize("url", ELSEWHERE)
def test_an_endpoint_elsewhere_is_refused(account: Account, url: str) -> None:
    facts = {"bucket": "bucket", "endpoint_url": url}
    connector = account("POST", "/v1/s3-connectors", {"name": "in", **facts})
    connection = account(
        "POST", "/v1/cloud-storage/connections", {"name": "in", "provider": "s3", "options": facts}
    )

    is_refusal(connector, 422, ValidationError, "VALIDATION_ERROR")
    assert faults_of(connector) == [(["body", "endpoint_url"], "endpoint_not_allowed")]
    assert faults_of(connection) == [(["body", "options", "endpoint_url"], "endpoint_not_allowed")]


def test_an_endpoint_may_be_allowed_by_name() -> None:
    assert fault_of_endpoint("https://s3.example:9000", {"s3.example"}) is None
    assert fault_of_endpoint("https://other.example:9000", {"s3.example"}) is not None
    for here in (
        "http://127.0.0.1:9000",
        "http://localhost:9000/",
        "http://[::1]:9000",
        "http://127.8.0.1:1",
    ):
        assert fault_of_endpoint(here, ()) is None


def test_the_process_that_copies_sees_nobody_elses_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    seen = environment()

    assert not {"AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "HOME"} & seen.keys()
    assert seen["AWS_EC2_METADATA_DISABLED"] == "true"
