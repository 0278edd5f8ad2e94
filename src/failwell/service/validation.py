"""
From Pydantic's findings to the fields of an error, without a word of what was sent.

Pydantic 2 repeats the input in each finding; for a missing member that is the whole object
around it, passwords included. Here only the place, the kind and the words are taken over, and of
these what the service has written: names of members, not keys of mappings; texts that stand in the
source, not what a validator composed. Whatever is composed may have the input in it, decoded,
rounded or cut, so that comparing them would never be enough.
"""

from __future__ import annotations

import json
import math
import re
import sys
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from failwell.failure import FieldError
from failwell.service.member_names import known_among
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

    A key of a mapping is `…` in a place. A message of a validator's own is kept if it stands in the
    source as it is (`raise ValueError("too plain")`), or as a constant of the module, in upper case;
    what a validator composes is "The value is not valid."

    Args:
        errors: From `ValidationError.errors()`.
        where: What goes before each place, such as `("body",)`.
        pydantic1: Whether the kinds and words are those of Pydantic 1.
    """
    found = list(errors)
    known = _names_among(found)
    return tuple(_field(error, (*where, *_place(error, known)), pydantic1) for error in found)


def _field(error: Mapping[str, Any], path: tuple[str | int, ...], pydantic1: bool) -> FieldError:
    if not pydantic1:
        return FieldError(path, _words(error), error["type"])
    code, words = _PYDANTIC_1.get(error["type"], ("value_error", "value is not valid"))
    return FieldError(path, words.format_map(error.get("ctx") or {}), code)


# --- places ---


def _names_among(errors: Sequence[Mapping[str, Any]]) -> set[str]:
    """What in the places of `errors` the service has written."""
    parts = chain.from_iterable(error.get("loc") or () for error in errors)
    declared = {error["loc"][1] for error in errors if _names_a_parameter(error)}
    return known_among(part for part in parts if isinstance(part, str)) | declared


def _names_a_parameter(error: Mapping[str, Any]) -> bool:
    """Whether the place is one of FastAPI's parameters, which the endpoint names."""
    place = error.get("loc") or ()
    return place[:1] in _PARAMETERS and len(place) > 1 and error.get("type") != "extra_forbidden"


_PARAMETERS = (("query",), ("path",), ("header",), ("cookie",))


def _place(error: Mapping[str, Any], known: set[str]) -> list[str | int]:
    """Where a finding is: its indexes, its names that are `known`, and the name of a member too many."""
    parts: list[str | int] = list(error.get("loc") or ())
    unexpected = -1
    if error.get("type") == "extra_forbidden":
        unexpected = max((at for at, part in enumerate(parts) if isinstance(part, str)), default=-1)
    if parts[-1:] == ["[key]"]:
        known = known - set(parts[-2:-1])
    return [
        part
        if isinstance(part, int) or part in known or (at == unexpected and len(part) <= _LONGEST_NAME)
        else "…"
        for at, part in enumerate(parts)
    ]


# A misspelled name is worth repeating; what is longer was never meant as one.
_LONGEST_NAME = 64


# --- words ---

# Pydantic's own words, except for these kinds, say nothing of the input.
_QUOTING = frozenset(
    {"value_error", "assertion_error", "union_tag_invalid", "uuid_parsing", "bytes_invalid_encoding",
     "timezone_offset", "datetime_object_invalid", "get_attribute_error", "mapping_type",
     "iteration_error", "no_such_attribute"}
)  # fmt: skip

# What a validator raises; Pydantic puts these before its words.
_RAISED = {"value_error": "Value error, ", "assertion_error": "Assertion failed, "}

# Pydantic's own validator of addresses goes on with words that may have a part of one in them.
_EMAIL = "value is not a valid email address"


def _words(error: Mapping[str, Any]) -> str:
    """The message of a finding, unless it may repeat the input."""
    words: str = error["msg"]
    kind = error["type"]
    if kind in _own_kinds() and kind not in _QUOTING:
        return words
    if words.startswith(f"{_EMAIL}: "):
        return _EMAIL
    said = words.removeprefix(_RAISED.get(kind, ""))
    cause = (error.get("ctx") or {}).get("error")
    if isinstance(cause, BaseException):
        constant = _stands_in_source(said, cause) and not _is_part_of(said, error.get("input"))
    else:
        # An error of Pydantic's with a template: that is written in the source, its gaps are filled.
        constant = kind not in _FILLED and not error.get("ctx") and not _repeats(said, error.get("input"))
    return words if constant else "The value is not valid."


_FILLED = _QUOTING - _RAISED.keys()


@cache
def _own_kinds() -> frozenset[str]:
    from pydantic_core.core_schema import ErrorType

    return frozenset(get_args(ErrorType))


def _stands_in_source(text: str, exc: BaseException) -> bool:
    """Whether `text` is a constant of the functions through which `exc` was raised, or of their modules."""
    trace = exc.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if any(type(constant) is str and constant == text for constant in frame.f_code.co_consts):
            return True
        if any(
            type(value) is str and value == text and name.isupper() for name, value in frame.f_globals.items()
        ):
            return True
        trace = trace.tb_next
    return False


def _is_part_of(text: str, value: Any) -> bool:
    """Whether some text in `value` has `text` in it, which may then have been quoted, and not written."""
    return any(found is None or text.casefold() in found.casefold() for found in _texts_in(value))


def _repeats(said: str, value: Any) -> bool:
    """Whether the letters and digits of something in `value` are in `said`, however separated or cut."""
    runs = _RUN.findall(said.casefold())
    whole = "".join(runs)
    for text in _texts_in(value):
        if text is None:
            return True
        sent = "".join(_RUN.findall(text.casefold()))
        if sent in runs or (len(sent) > 2 and sent in whole):
            return True
        if any(run in sent for run in runs if len(run) > 2 or _DIGIT.search(run)):
            return True
    return False


_RUN = re.compile(r"[^\W_]+")
_DIGIT = re.compile(r"\d")


def _texts_in(value: Any) -> Iterator[str | None]:
    """The texts and numbers in `value`, and None for what is neither and cannot be looked into."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, dict):
            left += [*part, *part.values()]
        elif isinstance(part, (list, tuple, set, frozenset)):
            left += part
        elif isinstance(part, (bytes, bytearray)):
            yield part.decode("utf-8", "replace")
        elif isinstance(part, (str, int, float)):
            if not isinstance(part, bool):
                yield str(part)
        elif part is not None:
            yield None


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
    shown = [finding if isinstance(finding, dict) else {} for finding in findings[:10]]
    known = _names_among(shown)
    for error in shown:
        place = _place(error, known)
        if error.get("type") == "extra_forbidden":
            # In the log not even the name of a member that was sent.
            place[-1:] = ["…"]
        said = ".".join(map(str, place))
        listed.append(f"{said or 'the whole'}: {error.get('type', 'not valid')}")
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
