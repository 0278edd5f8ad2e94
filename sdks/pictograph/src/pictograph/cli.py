"""
The command line.

    pictograph datasets list [--json]
    pictograph upload DATASET FOLDER [--skip-existing] [--json]
    pictograph train DATASET [--pipeline yolox] [--timeout 3600] [--json]

With `--json`, standard output is one JSON document: the result, or `{"error": {...}}`. Without it, errors
go to standard error.

| exit status | |
|---|---|
| 0 | done |
| 1 | a call did not succeed |
| 2 | the command line, the key or a setting cannot be used |
| 3 | a training run is not finished yet, and goes on |
| 130 | Ctrl-C |
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from pictograph import __version__
from pictograph.client import MAX_RETRIES, TIMEOUT, Client
from pictograph.exceptions import (
    FolderUploadError,
    PaymentRequiredError,
    PictographCallError,
    PictographError,
    PollTimeoutError,
    ValidationError,
)
from pictograph.folders import CONCURRENCY
from pictograph.models import Dataset, FileResult, TrainingRun
from pictograph.workflows import train_pipeline, upload_folder

DONE, FAILED, UNUSABLE, UNFINISHED, INTERRUPTED = 0, 1, 2, 3, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Do what the command line says.

    Args:
        arguments: Without the program's name; by default the process's own.

    Returns:
        The exit status.
    """
    given = _parser().parse_args(arguments)
    try:
        with Client(base_url=given.base_url, timeout=given.wait, max_retries=given.max_retries) as client:
            given.run(client, given)
    except PictographError as error:
        return _failed(error, given)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return DONE


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--json", action="store_true", help="print one JSON document")
    shared.add_argument("--base-url", metavar="URL", help="by default PICTOGRAPH_BASE_URL, else Pictograph's")
    shared.add_argument("--max-retries", type=int, default=MAX_RETRIES, metavar="N", help="%(default)s")
    shared.add_argument(
        "--request-timeout", dest="wait", type=float, default=TIMEOUT, metavar="SECONDS",
        help="for each wait within a try; %(default)s",
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
    upload.add_argument("folder")
    upload.add_argument("--skip-existing", action="store_true", help="leave out what the service has")
    upload.add_argument("--concurrency", type=int, default=CONCURRENCY, metavar="N", help="%(default)s")
    upload.add_argument("--into", default="", metavar="FOLDER", help="the folder of the dataset")
    upload.add_argument("--no-progress", action="store_true", help="show no bar")
    upload.set_defaults(run=_upload)

    train = commands.add_parser("train", parents=[shared], help="train a model on a dataset")
    train.add_argument("dataset", help="its name or id")
    train.add_argument("--pipeline", default="yolox", metavar="TYPE", help="%(default)s")
    train.add_argument("--export", metavar="NAME", help="learn from this export; made if it is not there")
    train.add_argument("--epochs", type=int, metavar="N")
    train.add_argument(
        "--timeout", type=float, default=3600.0, metavar="SECONDS", help="to wait; %(default)s"
    )
    train.set_defaults(run=_train)
    return parser


def _list_datasets(client: Client, given: argparse.Namespace) -> None:
    found = list(_every_dataset(client))
    if given.json:
        _print_json([dataset.to_json() for dataset in found])
        return
    width = max((len(dataset.name) for dataset in found), default=0)
    for dataset in found:
        print(f"{dataset.id}  {dataset.name:<{width}}  {dataset.image_count} images")


def _every_dataset(client: Client) -> Iterator[Dataset]:
    page = client.datasets.list()
    yield from page
    while page.next_cursor is not None:
        page = client.datasets.list(cursor=page.next_cursor)
        yield from page


def _upload(client: Client, given: argparse.Namespace) -> None:
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
    else:
        print(_in_words(results))


def _train(client: Client, given: argparse.Namespace) -> None:
    run, model = train_pipeline(
        client,
        given.dataset,
        pipeline=given.pipeline,
        export_name=given.export,
        config=None if given.epochs is None else {"epochs": given.epochs},
        timeout=given.timeout,
        progress=None if given.json else _Progress(),
    )
    if given.json:
        _print_json({"run": run.to_json(), "model": model.to_json()})
    else:
        print(f"{model.id}  {model.name or ''}  {', '.join(model.classes)}")


class _Progress:
    """Writes a line for each change of a run."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, run: TrainingRun) -> None:
        line = f"{run.id}  {run.status}  {run.progress:.0%}"
        if line != self._last:
            print(line, file=sys.stderr)
        self._last = line


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


def _failed(error: PictographError, given: argparse.Namespace) -> int:
    if given.json:
        _print_json({"error": _told(error)})
    else:
        _print_error(error)
    if isinstance(error, PollTimeoutError):
        return UNFINISHED
    return FAILED if isinstance(error, PictographCallError) else UNUSABLE


def _print_error(error: PictographError) -> None:
    print(f"pictograph: {error}", file=sys.stderr)
    if isinstance(error, PaymentRequiredError) and error.upgrade_url:
        print(f"Top up at: {error.upgrade_url}", file=sys.stderr)
    if isinstance(error, PollTimeoutError):
        print(f"It goes on: {error.run_id}", file=sys.stderr)
    if isinstance(error, FolderUploadError):
        for result in error.results:
            if result.error:
                print(f"{result.path}: {result.error}", file=sys.stderr)
        print(_in_words(error.results), file=sys.stderr)


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
    if isinstance(error, PollTimeoutError):
        known["run_id"] = error.run_id
    if isinstance(error, FolderUploadError):
        known |= _summary(error.results)
    return known


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


if __name__ == "__main__":
    raise SystemExit(main())
