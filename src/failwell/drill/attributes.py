"""Which attributes the classes of exceptions document, and which of them an error has filled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def documented(cls: type) -> Iterator[tuple[str, str]]:
    """
    The attributes of `cls` that a caller may read, each with the class that documents it.

    Those are the public properties of the class and of every class above it; what an exception of Python
    itself has is not among them.
    """
    for owner in cls.__mro__:
        for name, value in vars(owner).items():
            if isinstance(value, property) and not name.startswith("_") and value.__doc__:
                yield owner.__name__, name


def of_classes(classes: Sequence[type]) -> dict[str, None]:
    """All that `classes` document, as "Class.attribute"; each once, in their order."""
    return {f"{owner}.{name}": None for cls in classes for owner, name in documented(cls)}


def filled(error: BaseException) -> tuple[str, ...]:
    """Those that `error` has something in, as "Class.attribute": 0 and False are something."""
    return tuple(
        f"{owner}.{name}" for owner, name in documented(type(error)) if not _is_empty(getattr(error, name))
    )


def _is_empty(value: object) -> bool:
    if value is None:
        return True
    try:
        return len(value) == 0  # type: ignore[arg-type]  # what has no length is not empty
    except TypeError:
        return False
