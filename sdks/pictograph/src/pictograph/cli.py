"""
The command line.

    pictograph datasets list [--json]
    pictograph upload DATASET FOLDER [--skip-existing] [--json]
    pictograph train DATASET [--pipeline yolox] [--timeout 3600] [--json]
    pictograph wait RUN [--timeout 3600] [--json]

With `--json`, standard output is one JSON document: the result, or `{"error": {...}}`. Without it, errors
go to standard error.

| exit status | |
|---|---|
| 0 | done |
| 1 | a call did not succeed, or its result could not be written |
| 2 | the command line, the key or a setting cannot be used |
| 3 | a training run is not finished yet, and goes on |
| 130 | Ctrl-C |
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from pictograph import __version__
from pictograph.client import MAX_RETRIES, TIMEOUT, Client
from pictograph.exceptions import (
    AuthError,
    ConflictError,
    FolderUploadError,
    JobFailedError,
    PaymentRequiredError,
    PictographCallError,
    PictographError,
    PollTimeoutError,
    ValidationError,
)
from pictograph.folders import CONCURRENCY, HOPELESS, IMAGE_EXISTS
from pictograph.models import Dataset, FileResult, TrainedModel, TrainingRun
from pictograph.workflows import train_pipeline, upload_folder

DONE, FAILED, UNUSABLE, UNFINISHED, INTERRUPTED = 0, 1, 2, 3, 130

# Files that failed, line by line; `--json` has all of them.
SHOWN = 20


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Do what the command line says.

    Args:
        arguments: Without the program's name; by default the process's own.

    Returns:
        The exit status.
    """
    _take_any_letter()
    try:
        try:
            status = _done(_parser().parse_args(arguments))
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()  # while there is somebody to say that it cannot be written
    except BrokenPipeError:
        return _nobody_reads()
    except OSError as error:
        _tell(f"pictograph: the result cannot be written: {error.strerror or error}")
        _nobody_reads()
        return FAILED
    return status


def _done(given: argparse.Namespace) -> int:
    """Do it, and say what came of it: the exit status."""
    try:
        with Client(
            base_url=given.base_url, timeout=given.request_timeout, max_retries=given.max_retries
        ) as client:
            given.run(client, given)
    except PictographError as error:
        return _failed(error, given)
    except KeyboardInterrupt:
        return _interrupted(given)
    return DONE


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON document")
    shared.add_argument("--base-url", metavar="URL", help="by default PICTOGRAPH_BASE_URL, else Pictograph's")
    shared.add_argument(
        "--max-retries", type=int, default=MAX_RETRIES, metavar="N", help="of each call; %(default)s"
    )
    shared.add_argument(
        "--request-timeout", type=float, default=TIMEOUT, metavar="SECONDS",
        help="for each wait within a try; %(default)s",
    )  # fmt: skip
    patient = argparse.ArgumentParser(add_help=False)
    patient.add_argument(
        "--timeout", type=float, default=3600.0, metavar="SECONDS",
        help="to wait for the run, which goes on afterwards; %(default)s",
    )  # fmt: skip

    parser = argparse.ArgumentParser(
        prog="pictograph", description="Datasets of images. The API key is read from PICTOGRAPH_API_KEY."
    )
    parser.add_argument("--version", action="version", version=f"pictograph {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    datasets = commands.add_parser("datasets", help="what datasets there are")
    of_datasets = datasets.add_subparsers(required=True, metavar="COMMAND")
    listed = of_datasets.add_parser("list", parents=[shared], help="all datasets")
    listed.set_defaults(run=_list_datasets)

    upload = commands.add_parser("upload", parents=[shared], help="upload the images of a folder")
    upload.add_argument("dataset", help="its name or id")
    upload.add_argument("folder", help="PNG, JPEG, GIF, BMP and WebP files, in folders, too")
    upload.add_argument("--skip-existing", action="store_true", help="leave out what the service has")
    upload.add_argument(
        "--concurrency", type=int, default=CONCURRENCY, metavar="N", help="uploads at once; %(default)s"
    )
    upload.add_argument("--into", default="", metavar="FOLDER", help="the folder of the dataset")
    upload.add_argument("--no-progress", action="store_true", help="show no bar")
    upload.set_defaults(run=_upload)

    train = commands.add_parser("train", parents=[shared, patient], help="train a model on a dataset")
    train.add_argument("dataset", help="its name or id")
    train.add_argument(
        "--pipeline", default="yolox", metavar="TYPE", help="yolox, rfdetr or classifier; %(default)s"
    )
    train.add_argument("--export", metavar="NAME", help="learn from this export; made if it is not there")
    train.add_argument("--epochs", type=int, metavar="N", help="by default the service's")
    train.add_argument(
        "--idempotency-key", metavar="KEY", help="with the same one, within 24 h, it is the same run"
    )
    train.set_defaults(run=_train)

    wait = commands.add_parser("wait", parents=[shared, patient], help="wait for a training run that goes on")
    wait.add_argument("training_run", metavar="run", help="its id")
    wait.set_defaults(run=_wait)
    return parser


def _list_datasets(client: Client, given: argparse.Namespace) -> None:
    found = list(_every_dataset(client))
    if given.json:
        _print_json([dataset.to_json() for dataset in found])
        return
    if not found:
        _tell("There are no datasets yet.")
    width = max((len(_plain(dataset.name)) for dataset in found), default=0)
    for dataset in found:
        images = "1 image" if dataset.image_count == 1 else f"{dataset.image_count} images"
        print(f"{_plain(dataset.id)}  {_plain(dataset.name):<{width}}  {images}")


def _every_dataset(client: Client) -> Iterator[Dataset]:
    page = client.datasets.list()
    yield from page
    while page.next_cursor is not None:
        page = client.datasets.list(cursor=page.next_cursor)
        yield from page


def _upload(client: Client, given: argparse.Namespace) -> None:
    given.go_on = "Run it again with --skip-existing for the rest."
    results = upload_folder(
        client,
        given.dataset,
        given.folder,
        skip_existing=given.skip_existing,
        concurrency=given.concurrency,
        into=given.into,
        progress=False if given.json or given.no_progress else None,
    )
    if given.json:
        _print_json(_summary(results))
        return
    if not results:
        _tell("There are no images in the folder: PNG, JPEG, GIF, BMP or WebP by their names.")
    print(_in_words(results))


def _train(client: Client, given: argparse.Namespace) -> None:
    run, model = train_pipeline(
        client,
        given.dataset,
        pipeline=given.pipeline,
        export_name=given.export,
        config=None if given.epochs is None else {"epochs": given.epochs},
        timeout=given.timeout,
        progress=_watching(given),
        idempotency_key=given.idempotency_key,
    )
    _print_trained(run, model, given)


def _wait(client: Client, given: argparse.Namespace) -> None:
    given.going_on = given.training_run
    run = client.training.wait(given.training_run, timeout=given.timeout, progress=_watching(given))
    _print_trained(run, client.models.get(str(run.model_id)), given)


def _print_trained(run: TrainingRun, model: TrainedModel, given: argparse.Namespace) -> None:
    if given.json:
        _print_json({"run": run.to_json(), "model": model.to_json()})
    else:
        print(_plain(f"{model.id}  {model.name or ''}  {', '.join(model.classes)}"))


def _watching(given: argparse.Namespace) -> Callable[[TrainingRun], None]:
    """Notes which run is under way, and writes a line for each change of it."""
    last = ""

    def look(run: TrainingRun) -> None:
        nonlocal last
        given.going_on = run.id
        line = f"{run.id}  {run.status}  {run.progress:.0%}"
        if line != last and not given.json:
            _tell(line)
        last = line

    return look


def _summary(results: list[FileResult]) -> dict[str, Any]:
    statuses = ("uploaded", "skipped", "failed", "not_tried")
    counts: dict[str, Any] = {s: sum(r.status == s for r in results) for s in statuses}
    return {**counts, "files": [result.to_json() for result in results]}


def _in_words(results: list[FileResult]) -> str:
    counts = _summary(results)
    return ", ".join(
        f"{counts[status]} {status.replace('_', ' ')}"
        for status in ("uploaded", "skipped", "failed", "not_tried")
        if counts[status] or status == "uploaded"
    )


# --- what went wrong ---


def _failed(error: PictographError, given: argparse.Namespace) -> int:
    if given.json:
        _print_json({"error": _told(error)})
    else:
        _tell_error(error)
        if isinstance(error, FolderUploadError) and not given.skip_existing and _are_there(error):
            _tell("--skip-existing leaves out what the service has.")
    if isinstance(error, PollTimeoutError):
        return UNFINISHED
    return FAILED if isinstance(error, PictographCallError) else UNUSABLE


def _interrupted(given: argparse.Namespace) -> int:
    run_id = getattr(given, "going_on", None)
    how = getattr(given, "go_on", None) if run_id is None else _how_to_wait(run_id)
    if given.json:
        told = {"type": "KeyboardInterrupt", "message": "interrupted"}
        _print_json({"error": told if run_id is None else {**told, "run_id": run_id}})
    else:
        _tell("pictograph: interrupted")
        if how:
            _tell(how)
    return INTERRUPTED


def _how_to_wait(run_id: str | None) -> str:
    return f"The run goes on. To wait for it: pictograph wait {run_id}"


def _tell_error(error: PictographError) -> None:
    if isinstance(error, FolderUploadError):
        _tell_files(error)
        return
    _tell(f"pictograph: {error}")
    if isinstance(error, AuthError):
        _tell("The API key is read from PICTOGRAPH_API_KEY.")
    if isinstance(error, PaymentRequiredError) and error.upgrade_url:
        _tell(f"Top up at: {error.upgrade_url}")
    if isinstance(error, PollTimeoutError):
        _tell(_how_to_wait(error.run_id))


def _tell_files(error: FolderUploadError) -> None:
    # What every file fails with is worth one line.
    common = [each for each in error.exceptions if isinstance(each, HOPELESS)]
    for each in common[:1]:
        _tell_error(each)
    failed = [] if common else [result for result in error.results if result.error]
    for result in failed[:SHOWN]:
        _tell(f"{result.path}: {result.error}")
    if len(failed) > SHOWN:
        _tell(f"and {len(failed) - SHOWN} more, which --json lists")
    _tell(_in_words(error.results))


def _are_there(error: FolderUploadError) -> bool:
    """Whether the names of some files are taken."""
    return any(
        isinstance(each, ConflictError) and each.error_code == IMAGE_EXISTS for each in error.exceptions
    )


def _told(error: PictographError) -> dict[str, Any]:
    """What a program wants to know of an error."""
    known: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    known |= {"status_code": error.status_code, "error_code": error.error_code}
    if isinstance(error, PictographCallError):
        known |= {
            "request_id": error.request_id,
            "idempotency_key": error.idempotency_key,
            "retry_after": error.retry_after,
            "effect": error.effect.value,
            "retryable": error.retryable,
        }
    if isinstance(error, ValidationError):
        known["errors"] = error.errors
    if isinstance(error, PaymentRequiredError):
        known |= {
            "required": error.required, "remaining": error.remaining, "upgrade_url": error.upgrade_url
        }  # fmt: skip
    if isinstance(error, (PollTimeoutError, JobFailedError)):
        known["run_id"] = error.run_id
    if isinstance(error, FolderUploadError):
        known |= _summary(error.results)
    return known


# --- writing ---


def _take_any_letter() -> None:
    """Names of files and datasets may have letters that a terminal, or its encoding, has not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _plain(text: str) -> str:
    """`text` on one line, without what would steer a terminal: a file may be named anything."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _tell(line: str) -> None:
    """Write a line to standard error. That nobody reads it is no reason to stop."""
    with suppress(OSError):
        print(_plain(line), file=sys.stderr, flush=True)


def _print_json(value: object) -> None:
    # JSON has escapes of its own for what another encoding has not.
    any_letter = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") == "utf8"
    print(json.dumps(value, ensure_ascii=not any_letter, indent=2, default=str))


def _nobody_reads() -> int:
    """Whoever read our output has seen enough (`| head`); without this Python complains at exit."""
    if sys.__stdout__ is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
