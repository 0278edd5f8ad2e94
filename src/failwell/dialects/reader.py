"""Which dialect a body is spelled in, what it says, and whether a success is one."""

from __future__ import annotations

import re

import failwell.dialects as dialects
from failwell.dialects import general
from failwell.dialects.base import Said, Tree
from failwell.dialects.places import squashed_members
from failwell.dialects.words import listed
from failwell.headers import seconds_of
from failwell.meaning import named_inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.dialects.base import Dialect
    from failwell.dialects.body import Body

# What the body of a failure sent with a success holds besides the error.
_BESIDE = frozenset(
    listed(
        """error errors fault ok success succeeded issuccess message msg code status statuscode type title
    detail details errorcode errcode returncode returnmessage retcode retmsg resultcode
    resultmessage errmsg errno errormessage errordescription errortype warning warnings requestid
    traceid correlationid timestamp time path meta metadata responsemetadata data result results
    messages extensions needed provided jsonrpc docs documentationurl helpurl moreinfo info"""
    )
)
_FINE = frozenset({"", "ok", "success", "false", "2"})  # 0, 0000 and 200, without their zeros
_NO = frozenset(listed("false 0 error errors fail failed failure ko nok"))


def said_by(answer: Answer, body: Body, known: Dialect | None) -> Said:
    """What the parsed `body` of `answer` says; see `failwell.dialects.read`."""
    kind = body.kind
    if kind == "none":
        return Said(code=general.header_code(answer.headers))
    if known is not None:
        said = known.read(answer, body.value)
        if said is not None:
            said.dialect = known.name
            said.body = body.kept()
            return said
    if kind == "page" or kind == "text":
        said = _prose(answer, body)
    else:
        said = _detected(answer, body.value)
        if said.message is None:
            said.message = said.code  # a word says more than nothing
    if said.retry_after is None and said.message is not None and answer.status in (429, 503):
        said.retry_after = wait_in(said.message)
    said.body = body.kept()
    return said


def wait_in(message: str) -> float | None:
    """The seconds that a sentence asks to wait: "Please try again in 6m0s."; None if it asks for none."""
    lower = message[:2000].lower()
    if not any(word in lower for word in ("again", "retry", "available", "wait", "reset")):
        return None
    match = _WAIT.search(lower)
    if match is None:
        return None
    number, unit = match[1], match[2]
    if match[3] is not None:  # 1h30m
        return seconds_of(f"{number}{unit}{match[3]}")
    return seconds_of(f"{number}{_UNIT.get(unit, unit[0])}")


_WAIT = re.compile(
    r"(?:try (?:again|your request again)|retry(?: your request)?|retrying|available|wait(?: for)?|resets?)"
    r"(?: again)?(?: in| after| for| at least)*(?: about)? (\d{1,9}(?:\.\d{1,9})?) ?"
    r"(milliseconds?|millis|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|h)(?:((?:\d[\d.]*(?:ms|s|m|h))+)|(?![a-z]))"
)
_UNIT = {"milliseconds": "ms", "millisecond": "ms", "millis": "ms", "ms": "ms"}


def _prose(answer: Answer, body: Body) -> Said:
    from failwell.dialects import page

    code = general.header_code(answer.headers)
    if body.kind == "page":
        return Said(
            message=page.page_message(body.text),
            code=code,
            request_id=page.page_id(body.text),
            dialect="page",
        )
    return Said(message=page.text_message(body.text), code=code or page.text_code(body.text), dialect="text")


def _detected(answer: Answer, value: Any) -> Said:
    dialect = dialect_of(answer, value)
    said = None if dialect is None else dialect.read(answer, value)
    if said is not None and dialect is not None:
        said.dialect = dialect.name
        return said
    said = general.read(value, answer.status, answer.headers)
    said.dialect = "general"
    if answer.status < 400 and said.meaning is None and is_failure(value):
        codes = (said.code, *said.signals) if said.code else said.signals
        said.meaning = named_inside(codes, said.message) or "api"
    return said


def dialect_of(answer: Answer, value: Any) -> Dialect | None:
    """
    The standard that a body follows, by the members that only it has; None for the general rule.

    Spellings that the general rule reads as they are (Spring, Laravel, OData and others) are
    not looked for.
    """
    if isinstance(value, Tree):
        return next((dialects.DIALECTS[d] for root, d in _XML_ROOTS if root in value), None)
    content_type = answer.headers.get("content-type", "")
    if "application/problem" in content_type:
        return dialects.PROBLEM
    if isinstance(value, list):
        return dialects.JSONRPC if value and isinstance(value[0], dict) and "jsonrpc" in value[0] else None
    if not isinstance(value, dict):
        return None
    if "jsonrpc" in value:
        return dialects.JSONRPC
    errors = value.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        first = errors[0]
        if "data" in value or "locations" in first or "extensions" in first:
            return dialects.GRAPHQL
        if "vnd.api+json" in content_type or isinstance(first.get("source"), dict):
            return dialects.JSONAPI
        return None
    if isinstance(value.get("detail"), list):
        return dialects.FASTAPI
    error = value.get("error")
    if isinstance(error, str):
        return dialects.OAUTH
    if isinstance(error, dict):
        return dialects.GOOGLE if isinstance(error.get("status"), str) else None
    return dialects.PROBLEM if "title" in value and isinstance(value.get("type"), str) else None


_XML_ROOTS = (("Envelope", "soap"), ("methodResponse", "xmlrpc"), ("problem", "problem"))


def is_failure(value: Any) -> bool:
    """
    Whether a body that came with a success is an error: it says so of itself (`"ok": false`), or
    holds an error and nothing that an answer is asked for.

    A job that failed is no failed answer: it has members of its own beside its error.
    """
    if not isinstance(value, dict) or not value:
        return False
    node = squashed_members(value)
    if isinstance(value, Tree):
        if next(iter(node)) in ("error", "errors", "errorresponse", "fault", "exception"):
            return True
        inside = next(iter(node.values()))
        if not isinstance(inside, dict):
            return False
        node = squashed_members(inside)
        if str(node.get("stat", node.get("status"))).lower() in _NO:
            return True
    for name in ("ok", "success", "succeeded", "issuccess", "stat"):
        verdict = node.get(name)
        if verdict is False or (isinstance(verdict, str) and verdict.lower() in _NO):
            return True
    if len(node) == 1:
        (inner,) = node.values()
        if isinstance(inner, dict) and "error" in squashed_members(inner):
            return is_failure(inner)
    if not _BESIDE.issuperset(node):
        return False
    told = node.get("error") or node.get("errors") or node.get("errormessage") or node.get("fault")
    if told and told is not True:
        return not node.get("data") and not node.get("result") and not node.get("results")
    for name in ("errcode", "errorcode", "errno", "returncode", "retcode", "resultcode"):
        code = node.get(name)
        if isinstance(code, (int, str)) and str(code).strip("0").lower() not in _FINE:
            return True
    return str(node.get("status", "")).lower() in _NO and bool(node.get("message") or node.get("msg"))
