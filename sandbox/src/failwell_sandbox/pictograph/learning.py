"""
A small classifier of image regions: a linear model, trained by stochastic gradient descent.

It is no detector: it learns to tell the labels of annotated regions from each other, and from
places of the same images where nothing is annotated. Where something could be is found by
segmentation, and the model says what it is, if anything.

Only the process of a job imports this; training needs scikit-learn, using a model does not.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from failwell_sandbox.child_work import TaskError
from failwell_sandbox.pictograph.pixels import (
    Floats,
    Picture,
    UndecodableError,
    crop,
    features,
    load,
    regions,
)

Box = tuple[float, float, float, float]

TRAINER = "linear classifier of regions (78 features, logistic loss, SGD)"

# The label of places where nothing is annotated; no annotation can have it.
BACKGROUND = ""

# Of as many regions, every fifth is kept from the training, to be asked about afterwards.
LEAST_FOR_HOLDOUT = 10

# Regions of all images; what goes beyond is left out, and said.
MOST_REGIONS = 20_000

# Two boxes that share more than this are about one thing.
SAME = 0.3


class LearningError(TaskError):
    """There is nothing that could be learned."""


@dataclass(frozen=True, slots=True)
class Model:
    """
    What was learned.

    Attributes:
        classes: Labels, in the order of the rows.
        weights: A row for each class.
        offsets: One for each class.
        mean: Of each feature in the training.
        spread: Of each feature in the training.
    """

    classes: tuple[str, ...]
    weights: Floats
    offsets: Floats
    mean: Floats
    spread: Floats

    def probabilities(self, rows: Floats) -> Floats:
        """For each row of features, how likely each class is."""
        scores = ((rows - self.mean) / self.spread) @ self.weights.T + self.offsets
        likely = 1.0 / (1.0 + np.exp(-np.clip(scores, -50, 50)))
        found: Floats = likely / likely.sum(axis=1, keepdims=True)
        return found

    def save(self, path: Path) -> None:
        """Write it down: numbers and names, nothing that would be run when it is read."""
        with path.open("wb") as file:
            np.savez(
                file, classes=np.frombuffer(json.dumps(self.classes).encode(), dtype=np.uint8),
                weights=self.weights, offsets=self.offsets, mean=self.mean, spread=self.spread,
            )  # fmt: skip

    @classmethod
    def read(cls, path: Path) -> Model:
        """The model in a file."""
        with np.load(path, allow_pickle=False) as kept:
            classes = tuple(json.loads(kept["classes"].tobytes()))
            return cls(classes, kept["weights"], kept["offsets"], kept["mean"], kept["spread"])


@dataclass(slots=True)
class Samples:
    """Regions with labels, and what became of the images they are from."""

    parts: list[Floats]
    labels: list[str]
    images: int = 0
    skipped: int = 0


def samples_of(coco: Mapping[str, Any], folder: Path, seed: int, tell: Callable[[float], None]) -> Samples:
    """
    The annotated regions of an export, and as many places where nothing is.

    Args:
        coco: The export.
        folder: Where the images are, by their ids.
        seed: Decides which places.
        tell: Called with the share that is read.
    """
    dice = random.Random(seed)  # noqa: S311  # to be the same again, not to be unknown
    names = {category["id"]: category["name"] for category in coco["categories"]}
    by_image: dict[int, list[tuple[Box, str]]] = {}
    for annotation in coco["annotations"]:
        box: Any = tuple(annotation["bbox"])
        by_image.setdefault(annotation["image_id"], []).append((box, names[annotation["category_id"]]))
    samples = Samples([], [])
    images = [image for image in coco["images"] if image["id"] in by_image]
    for done, image in enumerate(images):
        tell(done / len(images))
        if len(samples.parts) >= MOST_REGIONS:
            samples.skipped += len(images) - done
            break
        try:
            picture = load(folder / image["pictograph_id"])
        except (UndecodableError, FileNotFoundError):  # or deleted since
            samples.skipped += 1
            continue
        samples.images += 1
        annotated = by_image[image["id"]]
        for box, name in [*annotated, *_elsewhere(picture, annotated, dice)]:
            samples.parts.append(crop(picture, box))
            samples.labels.append(name)
    return samples


def _elsewhere(
    picture: Picture, annotated: Sequence[tuple[Box, str]], dice: random.Random
) -> Iterator[tuple[Box, str]]:
    """Places of the image that no annotation is at."""
    found = 0
    for _ in range(20):
        like = dice.choice(annotated)[0]
        w, h = min(like[2], picture.width), min(like[3], picture.height)
        place = (dice.uniform(0, picture.width - w), dice.uniform(0, picture.height - h), w, h)
        if all(overlap(place, box) < 0.1 for box, _ in annotated):
            yield place, BACKGROUND
            found += 1
        if found >= max(2, len(annotated)):
            return


def train(
    samples: Samples, epochs: int, seed: int, tell: Callable[[int, float], None]
) -> tuple[Model, dict[str, Any]]:
    """
    A model, and how good it is.

    Args:
        samples: What to learn.
        epochs: How often to go through it; each time mirrored and lit a little otherwise.
        seed: The same data and the same seed give the same model.
        tell: Called after each epoch with its number and the loss.

    Raises:
        LearningError: there are not two labels, or places without one, to be told apart.
    """
    from sklearn.linear_model import SGDClassifier  # type: ignore[import-untyped]  # it has no types

    classes = sorted(set(samples.labels))
    if not samples.parts:
        raise LearningError("no_images", "None of the annotated images could be read.")
    if len(classes) < 2:
        raise LearningError("one_class", "There is one label only, and no place without it to tell it from.")
    dice = np.random.default_rng(seed)
    order = dice.permutation(len(samples.parts))
    held = order[::5] if len(order) >= LEAST_FOR_HOLDOUT else order[:0]
    used = np.setdiff1d(order, held)
    labels = np.array([classes.index(label) for label in samples.labels])
    if len(set(labels[used])) < len(classes):
        held, used = order[:0], order
    plain = np.stack([features(part) for part in samples.parts])
    mean, spread = plain[used].mean(axis=0), plain[used].std(axis=0) + 1e-3
    learner = SGDClassifier(loss="log_loss", alpha=1e-3, random_state=seed)
    whole = np.arange(len(classes))
    for epoch in range(1, epochs + 1):
        turned = np.stack([features(_varied(samples.parts[at], dice)) for at in used])
        rows = (np.concatenate([plain[used], turned]) - mean) / spread
        known = np.concatenate([labels[used], labels[used]])
        mixed = dice.permutation(len(rows))
        learner.partial_fit(rows[mixed], known[mixed], classes=whole)
        right = learner.predict_proba(rows)[np.arange(len(rows)), known]
        tell(epoch, float(-np.log(np.clip(right, 1e-9, 1)).mean()))
    model = _model(classes, learner, mean, spread)
    return model, _metrics(model, samples, plain, labels, used, held, epochs)


def _varied(part: Floats, dice: np.random.Generator) -> Floats:
    mirrored = part[:, ::-1] if dice.random() < 0.5 else part
    lit: Floats = np.clip(mirrored * np.float32(dice.uniform(0.85, 1.15)), 0, 1)
    return lit


def _model(classes: Sequence[str], learner: Any, mean: Floats, spread: Floats) -> Model:
    weights, offsets = learner.coef_, learner.intercept_
    if len(classes) == 2:  # one row stands for both
        weights, offsets = np.concatenate([-weights, weights]), np.concatenate([-offsets, offsets])
    return Model(tuple(classes), weights.astype(np.float32), offsets.astype(np.float32), mean, spread)


def _metrics(
    model: Model, samples: Samples, plain: Floats, labels: Any, used: Any, held: Any, epochs: int
) -> dict[str, Any]:
    guessed = model.probabilities(plain).argmax(axis=1)

    def share(of: Any) -> float | None:
        return round(float((guessed[of] == labels[of]).mean()), 4) if len(of) else None

    return {
        "trainer": TRAINER, "epochs": epochs, "images": samples.images, "skipped_images": samples.skipped,
        "training_regions": len(used), "training_accuracy": share(used),
        "holdout_regions": len(held), "holdout_accuracy": share(held),
    }  # fmt: skip


def predictions(model: Model, picture: Picture, threshold: float) -> list[dict[str, Any]]:
    """What the model sees in an image: annotations, the surest first."""
    boxes = [region.box for region in regions(picture)]
    if not boxes:
        return []
    likely = model.probabilities(np.stack([features(crop(picture, box)) for box in boxes]))
    best = likely.argmax(axis=1)
    found = [
        (float(likely[at, best[at]]), model.classes[best[at]], box)
        for at, box in enumerate(boxes)
        if model.classes[best[at]] != BACKGROUND and likely[at, best[at]] >= threshold
    ]
    found.sort(key=lambda each: -each[0])
    return [
        {
            "name": name, "type": "bbox", "confidence": round(sure, 4),
            "bbox": dict(zip("xywh", box, strict=True)),
        }
        for sure, name, box in _apart(found)
    ]  # fmt: skip


def outlines(picture: Picture, name: str) -> list[dict[str, Any]]:
    """What stands out in an image, without a model: convex hulls as polygons, all with one name."""
    return [
        {"name": name, "type": "polygon", "polygon": [[{"x": x, "y": y} for x, y in region.hull]]}
        for region in regions(picture)
        if len(region.hull) >= 3
    ]


def _apart(found: Iterable[tuple[float, str, Box]]) -> list[tuple[float, str, Box]]:
    kept: list[tuple[float, str, Box]] = []
    for each in found:
        if all(overlap(each[2], other[2]) < SAME for other in kept):
            kept.append(each)
    return kept


def overlap(one: Box, other: Box) -> float:
    """What two boxes share, of what they cover together."""
    w = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    h = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    if w <= 0 or h <= 0:
        return 0.0
    return w * h / (one[2] * one[3] + other[2] * other[3] - w * h)
