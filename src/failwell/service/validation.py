"""
From Pydantic's findings to the fields of an error, without a word of what was sent.

Pydantic 2 repeats the input in each finding; for a missing member that is the whole object
around it, passwords included. Here only the place, the kind and the words are taken over.
"""

from __future__ import annotations

import json
import math
import re
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from failwell.failure import FieldError
from failwell.service.refusals import Refusal, RefusedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from pydantic import BaseModel

    M = TypeVar("M", bound=BaseModel)

# Pydantic 2's kind to the kind and the words of Pydantic 1, as clients written for it expect.
# Words may name a member of the finding's context.
_PYDANTIC_1: Mapping[str, tuple[str, str]] = {
    "missing": ("value_error.missing", "field required"),
    "int_type": ("type_error.integer", "value is not a valid integer"),
    "int_parsing": ("type_error.integer", "value is not a valid integer"),
    "int_from_float": ("type_error.integer", "value is not a valid integer"),
    "int_parsing_size": ("type_error.integer", "value is not a valid integer"),
    "float_type": ("type_error.float", "value is not a valid float"),
    "float_parsing": ("type_error.float", "value is not a valid float"),
    "bool_type": ("type_error.bool", "value could not be parsed to a boolean"),
    "bool_parsing": ("type_error.bool", "value could not be parsed to a boolean"),
    "string_type": ("type_error.string", "str type expected"),
    "dict_type": ("type_error.dict", "value is not a valid dict"),
    "model_type": ("type_error.dict", "value is not a valid dict"),
    "model_attributes_type": ("type_error.dict", "value is not a valid dict"),
    "list_type": ("type_error.list", "value is not a valid list"),
    "none_required": ("type_error.none.allowed", "value is not none"),
    "string_too_short": (
        "value_error.str.min_length",
        "ensure this value has at least {min_length} characters",
    ),
    "string_too_long": (
        "value_error.str.max_length",
        "ensure this value has at most {max_length} characters",
    ),
    "too_long": ("value_error.list.max_items", "ensure this value has at most {max_length} items"),
    "too_short": ("value_error.list.min_items", "ensure this value has at least {min_length} items"),
    "greater_than_equal": (
        "value_error.number.not_ge",
        "ensure this value is greater than or equal to {ge}",
    ),
    "less_than_equal": ("value_error.number.not_le", "ensure this value is less than or equal to {le}"),
    "extra_forbidden": ("value_error.extra", "extra fields not permitted"),
    "json_invalid": ("value_error.jsondecode", "{error}"),
}


def fields_from_pydantic(
    errors: Iterable[Mapping[str, Any]], *, where: tuple[str | int, ...] = (), pydantic1: bool = False
) -> tuple[FieldError, ...]:
    """
    What Pydantic found, field by field.

    Args:
        errors: From `ValidationError.errors()`.
        where: What goes before each place, such as `("body",)`.
        pydantic1: Whether the kinds and words are those of Pydantic 1.
    """
    return tuple(_field(error, where, pydantic1) for error in errors)


def _field(error: Mapping[str, Any], where: tuple[str | int, ...], pydantic1: bool) -> FieldError:
    path = (*where, *map(_named, error["loc"]))
    if not pydantic1:
        return FieldError(path, _words(error), error["type"])
    code, words = _PYDANTIC_1.get(error["type"], ("value_error", "value is not valid"))
    return FieldError(path, words.format_map(error.get("ctx") or {}), code)


def _named(part: str | int) -> str | int:
    """A part of a place: the name of a member that is not expected is one that was sent."""
    return "…" if isinstance(part, str) and len(part) > _LONGEST_NAME else part


# A misspelled name is worth repeating; what is longer was never meant as one.
_LONGEST_NAME = 64


# Pydantic's own words, except for these kinds, say nothing of the input.
_QUOTING = frozenset({"value_error", "assertion_error", "union_tag_invalid", "uuid_parsing"})


def _words(error: Mapping[str, Any]) -> str:
    """
    The message of a finding, unless it quotes the input.

    A validator of the service's own says what it likes, and may well say `f"no such key: {key}"`, or
    what `int(key.split("-")[1])` says by itself. So no word of it may stand anywhere in the input.
    """
    words: str = error["msg"]
    kind = error["type"]
    if kind in _own_kinds() and kind not in _QUOTING:
        return words
    quoted = kind == "uuid_parsing" or _quotes(words, error.get("input"))
    return "The value is not valid." if quoted else words


def _quotes(words: str, value: Any) -> bool:
    """Whether `words` repeat a text of `value`, or a piece of one, in whatever case."""
    said = words.removeprefix("Value error, ").removeprefix("Assertion failed, ").casefold()
    pieces = _PIECE.findall(said)
    for part in map(str.casefold, _parts_of(value, 6)):
        if part in said or any(piece in part for piece in pieces):
            return True
    return False


# Shorter words are in too many texts by chance.
_PIECE = re.compile(r"\w{4,}")


@cache
def _own_kinds() -> frozenset[str]:
    from pydantic_core.core_schema import ErrorType

    return frozenset(get_args(ErrorType))


def _parts_of(value: Any, depth: int) -> Iterator[str]:
    """The texts and numbers in `value` that are long enough to be told from a word by chance."""
    if isinstance(value, dict) and depth:
        for name, member in value.items():
            yield from _parts_of(name, 0)
            yield from _parts_of(member, depth - 1)
    elif isinstance(value, (list, tuple, set)) and depth:
        for member in value:
            yield from _parts_of(member, depth - 1)
    elif isinstance(value, (str, bytes, int, float)):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        if len(text) > 2:
            yield text


class InvalidDataError(Exception):
    """What the log says in place of an exception whose text repeats the data that it found fault with."""


def loggable(exc: BaseException) -> BaseException:
    """
    `exc` as it may be logged.

    Pydantic's `ValidationError` and FastAPI's of a response repeat the input in their texts. Each
    of them in the chain, or in a group, is replaced by its places and kinds, with its traceback.
    """
    return _loggable(exc, {})


def _loggable(exc: BaseException, seen: dict[int, BaseException]) -> BaseException:
    if id(exc) in seen:
        return seen[id(exc)]
    findings = _findings_of(exc)
    said = exc if findings is None else InvalidDataError(_places(exc, findings))
    if isinstance(exc, BaseExceptionGroup):
        members = [_loggable(member, seen) for member in exc.exceptions]
        if any(new is not old for new, old in zip(members, exc.exceptions, strict=True)):
            said = exc.derive(members)
    seen[id(exc)] = said
    suppressed = exc.__suppress_context__
    cause, context = exc.__cause__, exc.__context__
    said.__cause__ = None if cause is None else _loggable(cause, seen)
    said.__context__ = None if context is None else _loggable(context, seen)
    said.__suppress_context__ = suppressed
    return said if said is exc else said.with_traceback(exc.__traceback__)


def _findings_of(exc: BaseException) -> Sequence[Any] | None:
    """What an exception found fault with; None if it is no finding of Pydantic's."""
    found: Any = exc
    for module, name in _FINDERS:
        # What was never imported raised nothing.
        cls = getattr(sys.modules.get(module), name, None)
        if cls is not None and isinstance(exc, cls):
            errors: Sequence[Any] = found.errors()
            return errors
    return None


_FINDERS = (("pydantic_core", "ValidationError"), ("fastapi.exceptions", "ValidationException"))


def _places(exc: BaseException, findings: Sequence[Any]) -> str:
    listed = []
    for finding in findings[:10]:
        error = finding if isinstance(finding, dict) else {}
        parts = [str(_named(part)) for part in error.get("loc", ())]
        # Names that were sent: of a member that is not expected, of a mapping's key that is not valid.
        if parts[-1:] == ["[key]"]:
            parts[-2:-1] = ["…"]
        elif error.get("type") == "extra_forbidden":
            parts[-1:] = ["…"]
        place = ".".join(parts)
        listed.append(f"{place or 'the whole'}: {error.get('type', 'not valid')}")
    more = [] if len(findings) <= 10 else ["…"]
    where = getattr(exc, "endpoint_path", None)
    return f"{type(exc).__name__}{f' of {where}' if where else ''}: {'; '.join([*listed, *more])}"


def json_body(model: type[M], *, pydantic1: bool = False) -> Callable[[bytes], M]:
    """
    A parser for bodies that are one JSON object of the shape of `model`.

    The media type is not looked at: `curl -d` names another one, and the bytes tell.

    Args:
        model: A Pydantic model.
        pydantic1: Whether findings are those of Pydantic 1, and malformed JSON one of them, as
            in FastAPI of that time; otherwise malformed JSON is a 400.
    """
    from pydantic import ValidationError

    def parse(body: bytes) -> M:
        value = _json(body, pydantic1)
        try:
            return model.model_validate(value)
        except ValidationError as exc:
            errors: Any = exc.errors(include_url=False)
            fields = fields_from_pydantic(errors, where=("body",), pydantic1=pydantic1)
        # Raised here, so that the finding with the input in it is no context of it.
        raise RefusedRequest(Refusal("validation_failed", fields=fields))

    # For the OpenAPI document.
    parse.model = model  # type: ignore[attr-defined]  # a function takes attributes
    return parse


def refusal_of_json(exc: Exception, *, as_fields: bool, pydantic1: bool) -> Refusal | None:
    """
    What to say of a body that a handler read with Starlette's `Request.json`, and that is no JSON.

    Args:
        exc: What ended the request.
        as_fields: Whether it is said as FastAPI does of the bodies that it reads: a 422 that names
            the place. Otherwise it is a 400.
        pydantic1: Whether findings are worded as Pydantic 1 did.

    Returns:
        None if it is another exception: other JSON that cannot be read is no fault of the client's.
    """
    if not isinstance(exc, (ValueError, RecursionError)) or not _of_request_json(exc):
        return None
    if not isinstance(exc, json.JSONDecodeError):
        return Refusal("bad_request")
    if not as_fields:
        return Refusal("malformed_json", {"line": exc.lineno, "column": exc.colno})
    finding = {
        "type": "json_invalid", "loc": ("body", exc.pos), "msg": "JSON decode error",
        "ctx": {"error": exc.msg},
    }  # fmt: skip
    return Refusal("validation_failed", fields=fields_from_pydantic([finding], pydantic1=pydantic1))


def _of_request_json(exc: Exception) -> bool:
    from starlette.requests import Request

    here = exc.__traceback__
    while here is not None and here.tb_next is not None:
        called = here.tb_next
        if (here.tb_frame.f_code, called.tb_frame.f_code) == (Request.json.__code__, json.loads.__code__):
            return True
        here = called
    return False


def _json(body: bytes, pydantic1: bool) -> Any:
    if not body and pydantic1:
        raise RefusedRequest(
            Refusal(
                "validation_failed",
                fields=(FieldError(("body",), "field required", "value_error.missing"),),
            )
        )
    refusal: Refusal
    try:
        # RFC 8259, section 8.1: UTF-8. Left to itself, json would guess at UTF-16.
        text = body.decode("utf-8")
        value = json.loads(text, parse_constant=_refused, parse_float=_finite)
        if "\\ud" in text or "\\uD" in text:
            # Half a surrogate pair can be neither stored nor sent back.
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        return value
    except json.JSONDecodeError as exc:
        if pydantic1:
            finding = FieldError(("body", exc.pos), exc.msg, "value_error.jsondecode")
            refusal = Refusal("validation_failed", fields=(finding,))
        else:
            refusal = Refusal("malformed_json", {"line": exc.lineno, "column": exc.colno})
    except (ValueError, RecursionError):  # also a number with more digits than Python reads
        refusal = Refusal("bad_request")
    # Raised here, so that an exception with the body in it is no context of it.
    raise RefusedRequest(refusal)


def _finite(digits: str) -> float:
    """The number; 1e400 is none, and would go out as `Infinity`, which is no JSON."""
    number = float(digits)
    return number if math.isfinite(number) else _refused(digits)


def _refused(word: str) -> float:
    # RFC 8259, section 6: NaN and Infinity are not permitted, though Python reads and writes them.
    raise ValueError(f"{word[:20]} is no number in JSON")
