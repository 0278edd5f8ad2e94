"""The command line: what it prints, and with which status it ends."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from pictograph_answers import (
    BASE,
    DATASET,
    EXPORT,
    KEY,
    MODEL,
    RUN,
    START,
    completed,
    page,
    refusal,
)
from pictograph_store import Store

from failwell.testing import FakeClock, ScriptedEngine, answer, broken
from pictograph import Client, cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the program with the answers of a script: status, standard output, standard error."""
    monkeypatch.setenv("PICTOGRAPH_API_KEY", KEY)

    def run(*arguments: str, script: Iterable[Any] = ()) -> tuple[int, str, str]:
        clock = FakeClock(START)

        def make(**settings: Any) -> Client:
            return Client(**{**settings, "base_url": BASE}, engine=ScriptedEngine(script, clock), clock=clock)

        monkeypatch.setattr(cli, "Client", make)
        try:
            status = cli.main(arguments)
        except SystemExit as stopped:
            status = int(stopped.code or 0)
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


def test_all_datasets_are_listed_page_by_page(run: Run) -> None:
    other = {**DATASET, "id": "ds_2", "name": "sky", "image_count": 1}
    script = [answer(200, page(DATASET, next_cursor="c")), answer(200, page(other))]
    status, out, _ = run("datasets", "list", script=script)

    assert (status, out) == (0, "ds_1  street  2 images\nds_2  sky     1 image\n")


def test_datasets_as_json_are_one_document(run: Run) -> None:
    status, out, err = run("datasets", "list", "--json", script=[answer(200, page(DATASET))])

    assert (status, err) == (0, "")
    assert [dataset["name"] for dataset in json.loads(out)] == ["street"]
    assert json.loads(run("datasets", "list", "--json", script=[answer(200, page())])[1]) == []


def test_no_datasets_are_no_lines_and_a_word_about_it(run: Run) -> None:
    assert run("datasets", "list", script=[answer(200, page())]) == (0, "", "There are no datasets yet.\n")


def test_what_would_steer_a_terminal_is_shown_and_not_done(run: Run) -> None:
    odd = {**DATASET, "name": "a\x1b[2J\nb\u202e"}
    _, out, _ = run("datasets", "list", script=[answer(200, page(odd))])

    assert out == "ds_1  a\\x1b[2J\\nb\\u202e  2 images\n"


def test_a_folder_is_uploaded_and_counted(run: Run, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    store = Store()
    upload = ("upload", "street", str(tmp_path), "--skip-existing")
    script = repeat(store)

    assert run(*upload, script=script) == (0, "2 uploaded\n", "")
    assert run(*upload, script=script) == (0, "0 uploaded, 2 skipped\n", "")
    told = json.loads(run(*upload, "--json", script=script)[1])
    assert (told["skipped"], [file["path"] for file in told["files"]]) == (2, ["a.png", "b.png"])


def test_a_folder_that_is_uploaded_in_part_is_status_1_and_names_the_rest(run: Run, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(name.encode())
    store = Store()
    store.fail = lambda name: (
        answer(422, refusal("validation_failed", "No image.")) if name == "a.png" else None
    )
    upload = ("upload", "street", str(tmp_path), "--concurrency", "1", "--into", "x")
    status, out, err = run(*upload, script=repeat(store))

    assert (status, out) == (1, "")
    assert "a.png: No image. (422" in err
    assert err.endswith("1 uploaded, 1 failed\n")

    store.images.clear()
    status, out, err = run(*upload, "--json", script=repeat(store))
    told = json.loads(out)["error"]
    assert (status, err, told["type"], told["failed"]) == (1, "", "FolderUploadError", 1)


def test_of_many_files_that_failed_some_are_named_and_the_others_counted(run: Run, tmp_path: Path) -> None:
    for number in range(23):
        (tmp_path / f"{number:02}.png").write_bytes(b"x")
    store = Store()
    store.fail = lambda name: answer(409, refusal("image_exists", "It is there.", image_id="img_1"))
    upload = ("upload", "street", str(tmp_path))
    _, _, err = run(*upload, script=repeat(store))

    assert err.count("It is there.") == 20
    assert err.endswith(
        "and 3 more, which --json lists\n0 uploaded, 23 failed\n"
        "--skip-existing leaves out what the service has.\n"
    )
    assert "leaves out" not in run(*upload, "--skip-existing", script=repeat(store))[2]


def test_what_every_file_fails_with_is_said_once(run: Run, tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    store = Store()
    url = "https://pictograph.example/billing/upgrade"
    for status, hint in ((401, "The API key is read from PICTOGRAPH_API_KEY."), (402, f"Top up at: {url}")):
        store.fail = lambda name, status=status: (  # type: ignore[misc]  # each round has its status
            answer(status, refusal("no", "No.", upgrade_url=url))
        )
        _, _, err = run("upload", "street", str(tmp_path), "--concurrency", "1", script=repeat(store))
        lines = err.splitlines()
        assert lines[0].startswith(f"pictograph: No. ({status}")
        assert lines[1:] == [hint, "0 uploaded, 1 failed, 4 not tried"]


def test_a_folder_without_images_says_so(run: Run, tmp_path: Path) -> None:
    status, out, err = run("upload", "street", str(tmp_path), script=repeat(Store()))

    assert (status, out) == (0, "0 uploaded\n")
    assert "There are no images in the folder" in err


def test_a_file_whose_name_is_no_text_is_a_failure_of_its_own(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    odd = os.fsencode(tmp_path) + b"/\xff\n.png"
    try:
        Path(os.fsdecode(odd)).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system has no such names")
    store = Store()
    upload = ("upload", "street", str(tmp_path))
    status, _, err = run(*upload, script=repeat(store))

    assert (status, err) == (
        1,
        "\\udcff\\n.png: name '\\udcff\\n.png' is not UTF-8: call the image something else\n"
        "1 uploaded, 1 failed\n",
    )
    told = json.loads(run(*upload, "--json", "--skip-existing", script=repeat(store))[1])["error"]
    assert (told["skipped"], told["failed"], told["files"][1]["path"]) == (1, 1, "\udcff\n.png")


TRAINING = [
    answer(200, DATASET),
    answer(201, EXPORT),
    answer(200, completed(EXPORT)),
    answer(201, RUN),
    answer(200, {**RUN, "status": "running", "progress": 0.5}, headers={"retry-after": "1"}),
    answer(200, completed(RUN, model_id="mdl_1")),
    answer(200, MODEL),
]


def test_a_model_is_trained_and_its_progress_told(run: Run) -> None:
    status, out, err = run("train", "street", "--epochs", "3", script=TRAINING)

    assert (status, out) == (0, "mdl_1  street-yolox  person, road\n")
    assert err == "run_1  running  50%\nrun_1  completed  100%\n"


def test_a_model_as_json_is_one_document(run: Run) -> None:
    status, out, err = run("train", "street", "--pipeline", "classifier", "--json", script=TRAINING)

    assert (status, err) == (0, "")
    assert json.loads(out)["model"]["id"] == "mdl_1"
    assert json.loads(out)["run"]["status"] == "completed"


def test_a_run_that_goes_on_is_status_3_and_named(run: Run) -> None:
    running = answer(200, {**RUN, "status": "running"}, headers={"retry-after": "1"})
    script = [*TRAINING[:4], *[running] * 9]
    status, out, err = run("train", "street", "--timeout", "3", script=script)

    assert (status, out) == (3, "")
    assert err.endswith("The run goes on. To wait for it: pictograph wait run_1\n")
    told = json.loads(run("train", "street", "--timeout", "3", "--json", script=script)[1])["error"]
    assert (told["type"], told["run_id"]) == ("PollTimeoutError", "run_1")


def test_a_run_that_goes_on_is_waited_for_by_its_id(run: Run) -> None:
    status, out, err = run("wait", "run_1", script=TRAINING[4:])

    assert (status, out) == (0, "mdl_1  street-yolox  person, road\n")
    assert err == "run_1  running  50%\nrun_1  completed  100%\n"
    told = json.loads(run("wait", "run_1", "--json", script=TRAINING[4:])[1])
    assert (told["run"]["id"], told["model"]["id"]) == ("run_1", "mdl_1")


def test_a_run_that_failed_is_status_1_and_named(run: Run) -> None:
    failed = {**RUN, "status": "failed", "error": {"code": "one_class", "message": "There is one label."}}
    status, out, _ = run("wait", "run_1", "--json", script=[answer(200, failed)])
    told = json.loads(out)["error"]

    assert (status, told["type"], told["error_code"]) == (1, "JobFailedError", "one_class")
    assert told["run_id"] == "run_1"


def test_a_training_that_is_begun_again_with_its_key_is_the_same_request(run: Run) -> None:
    sent: list[Any] = []

    def noted(order: Any) -> Any:
        sent.append(order.request)
        return TRAINING[len(sent) - 1]

    run("train", "street", "--idempotency-key", "mine", script=repeat(noted))

    keys = [request.headers.get("idempotency-key") for request in sent if request.method == "POST"]
    assert keys == ["mine-export", "mine-run"]


def test_ctrl_c_names_the_run_that_goes_on(run: Run) -> None:
    script = [*TRAINING[:5], KeyboardInterrupt()]

    for command, answers in ((("train", "street"), script), (("wait", "run_1"), script[4:])):
        status, out, err = run(*command, script=answers)
        assert (status, out) == (130, "")
        assert err.endswith(
            "pictograph: interrupted\nThe run goes on. To wait for it: pictograph wait run_1\n"
        )
        status, out, err = run(*command, "--json", script=answers)
        assert (status, err, json.loads(out)["error"]["run_id"]) == (130, "", "run_1")


def test_ctrl_c_says_how_an_upload_goes_on(run: Run, tmp_path: Path) -> None:
    status, _, err = run("upload", "street", str(tmp_path), script=[KeyboardInterrupt()])

    assert (status, err) == (
        130,
        "pictograph: interrupted\nRun it again with --skip-existing for the rest.\n",
    )


def test_a_call_that_failed_is_status_1_and_says_why(run: Run) -> None:
    url = "https://pictograph.example/billing/upgrade"
    body = refusal("insufficient_credits", "Too few credits.", required=50, remaining=3, upgrade_url=url)
    script = [*TRAINING[:3], answer(402, body)]
    status, out, err = run("train", "street", script=script)

    assert (status, out) == (1, "")
    assert "Too few credits. (402 insufficient_credits, request req_1)" in err
    assert f"Top up at: {url}" in err
    told = json.loads(run("train", "street", "--json", script=script)[1])["error"]
    assert (told["required"], told["remaining"], told["status_code"]) == (50, 3, 402)


def test_a_refused_payload_as_json_has_its_fields(run: Run) -> None:
    fields = [{"loc": ["body", "pipeline_type"], "msg": "Not one of them.", "type": "enum"}]
    script = [*TRAINING[:3], answer(422, refusal("validation_failed", errors=fields))]

    assert json.loads(run("train", "street", "--json", script=script)[1])["error"]["errors"] == fields


def test_retries_are_as_asked_for(run: Run) -> None:
    script = [broken("reset"), answer(200, page())]

    assert run("datasets", "list", script=script)[0] == 0
    assert run("datasets", "list", "--max-retries", "0", script=script)[0] == 1


def test_what_cannot_be_used_is_status_2(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert run("upload", "street", str(tmp_path / "nowhere"))[0] == 2
    assert run("datasets", "list", "--max-retries", "-1")[0] == 2
    assert run("nothing")[0] == 2
    assert run()[0] == 2
    monkeypatch.delenv("PICTOGRAPH_API_KEY")
    status, _, err = run("datasets", "list")
    assert (status, "PICTOGRAPH_API_KEY" in err) == (2, True)
    assert json.loads(run("datasets", "list", "--json")[1])["error"]["type"] == "ConfigurationError"


def test_ctrl_c_is_status_130(run: Run) -> None:
    assert run("datasets", "list", script=[KeyboardInterrupt()])[0] == 130


def test_a_key_that_is_not_known_is_status_1_and_says_where_it_is_from(run: Run) -> None:
    status, _, err = run("datasets", "list", script=[answer(401, refusal("api_key_invalid", "Unknown."))])

    assert (status, err.splitlines()[1:]) == (1, ["The API key is read from PICTOGRAPH_API_KEY."])


def test_letters_that_the_output_has_not_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTOGRAPH_API_KEY", KEY)
    names = ("stra\N{LATIN SMALL LETTER SHARP S}e", "\N{GRINNING FACE}")
    found = page(*({**DATASET, "name": name} for name in names))

    def make(**settings: Any) -> Client:
        engine = ScriptedEngine([answer(200, found)], FakeClock(START))
        return Client(**{**settings, "base_url": BASE}, engine=engine, clock=FakeClock(START))

    monkeypatch.setattr(cli, "Client", make)
    for encoding in ("ascii", "latin-1", "utf-8"):
        for arguments in (["datasets", "list"], ["datasets", "list", "--json"]):
            written = io.BytesIO()
            monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
            assert cli.main(arguments) == 0
            text = written.getvalue().decode(encoding)
            if "--json" in arguments:
                assert tuple(dataset["name"] for dataset in json.loads(text)) == names
            else:
                assert text.count("\n") == 2


def test_a_program_without_output_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)

    assert cli.main(["upload", "street", "/nowhere/at/all"]) == 2


def test_it_can_be_run_as_a_program() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "pictograph.cli", "--version"], capture_output=True, text=True, check=True
    )

    assert told.stdout.startswith("pictograph 0.")
