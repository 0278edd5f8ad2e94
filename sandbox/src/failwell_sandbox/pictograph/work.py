"""
The process of one job: `python -m failwell_sandbox.pictograph.work`.

What decodes images and learns runs here and nowhere else: an image that breaks a decoder, or takes
all memory, ends one job and not the service.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from failwell_sandbox.child_work import Progress, Say, Task, run


def task_of(kind: str) -> Task:
    """What does a task; imports what that needs."""
    import failwell_sandbox.pictograph.learning  # noqa: F401  # here, what is not installed is said to be

    if kind == "training":
        import sklearn.linear_model  # type: ignore[import-untyped]  # noqa: F401  # it has no types
    return {"training": _train, "auto_annotation": _annotate, "predict": _predict}[kind]


def _train(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Learn from an export; the model goes into the file `to`."""
    from failwell_sandbox.pictograph.learning import BACKGROUND, samples_of, train

    tell = Progress(say)
    coco = json.loads(Path(task["export"]).read_bytes())
    epochs, seed = task["epochs"], task["seed"]
    # Reading the images is a fifth of the work, as far as anybody is told.
    samples = samples_of(coco, Path(task["images"]), seed, lambda share: tell(0.2 * share, epoch=0))
    model, metrics = train(
        samples, epochs, seed,
        lambda epoch, loss: tell(0.2 + 0.8 * epoch / epochs, epoch=epoch, loss=round(loss, 5)),
    )  # fmt: skip
    model.save(Path(task["to"]))
    return {"metrics": metrics, "classes": [name for name in model.classes if name != BACKGROUND]}


def _annotate(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Annotate images one after the other, each told by itself."""
    from failwell_sandbox.pictograph.learning import Model, outlines, predictions
    from failwell_sandbox.pictograph.pixels import UndecodableError, load

    model = Model.read(Path(task["model"])) if task["model"] else None
    for image_id in task["image_ids"]:
        try:
            picture = load(Path(task["images"], image_id))
        except (UndecodableError, FileNotFoundError) as exc:
            say({"image": image_id, "failed": str(exc)})
            continue
        found = (
            outlines(picture, task["name"])
            if model is None
            else predictions(model, picture, task["threshold"])
        )
        say({"image": image_id, "annotations": found})
    return {}


def _predict(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """What a model sees in one image."""
    from failwell_sandbox.pictograph.learning import Model, predictions
    from failwell_sandbox.pictograph.pixels import load

    model = Model.read(Path(task["model"]))
    return {"annotations": predictions(model, load(Path(task["image"])), task["threshold"])}


if __name__ == "__main__":
    sys.exit(run(task_of, "learning"))
