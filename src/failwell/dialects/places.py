"""
Where an error's facts stand: the names of the members, in the order in which they are believed.

A name is compared without case, punctuation and namespace, so that `error_message`,
`errorMessage`, `Error-Message` and `x:errorMessage` are one place. What a name was found to be is
remembered, so that a member seen before costs one look-up.
"""

from __future__ import annotations

import re

from failwell.dialects.words import listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The sentence for people.
MESSAGES = listed(
    """detail errordescription exceptionmessage errormessage errormessages errormsg errmsg message msg
    messages usermessage displaymessage faultstring description desc explanation errortext
    errordetail errordetails statusmessage statusmsg developermessage localizedmessage reason
    reasonphrase reasons summary title errorsummary errortitle error errors err errorinfo fault
    string issue text #text value debug cause info details statustext additionalinfo failure
    response result"""
)
# The word for programs.
CODES = listed(
    """errorcode code errcode errorcodes errorkey error errorname errortype errorid exceptioncode faultcode
    statuscode status reason reasoncode name key type err tag id errno errornum kind category slug
    responsecode identifier exceptiontype errorstatus statusname retcode resultcode respcode
    returncode subcode errorsubcode errorref number title issue detailcode messagecode messageid
    messagekey i18nkey errorslug errorsummary"""
)
# Members that hold the error; then members that may, if nothing else says anything.
CARRIERS = listed("error errors fault exception err apierror errorresponse responsestatus")
WEAK_CARRIERS = listed(
    """detail details problem response result status meta metadata message messages
    body data embedded envelope
    errorinfo errordetail errordetails payload content header head responsemetadata json"""
)
# The request's id: how the name ends, the service's own ids before those of a trace.
IDS = (
    (0, ("requestid",)),
    (1, ("debugid", "requestuuid", "reqid")),
    (2, ("correlationid",)),
    (3, ("traceid", "transactionid", "logid", "trackingid", "incidentid", "problemid", "rayid")),
)
# The one parameter that an error is about.
ONE_FIELD = listed("param parameter paramname parametername field fieldname attribute attr argument pointer")

NO_RANK = 999
# Objects with more members than this describe something else than an error.
SMALL = 20
# An id under these names counts only if its value looks like one.
DOUBTFUL_ID, ERROR_ID = 8, 4

# A made-up name still ends or begins as these do: `apiErrorMessage`, `serviceErrorCode`.
_MESSAGE_ENDS = ("message", "msg", "errordescription", "errordetail")
_CODE_ENDS = ("errorcode", "errcode", "errortype")
_OTHER_CODES = re.compile("status|http|zip|post|country|currency|lang|locale|area|phone|verification|auth")
_FOREIGN_ID = re.compile("client|original|parent|session")
_WAIT = re.compile(
    r"(?:retry(?:after|in|delay)|waitfor|waitseconds|tryagainin)(ms|millis|milliseconds|s|sec|secs|seconds)?$"
)
_MESSAGE_RANK = {name: rank for rank, name in enumerate(MESSAGES)}
_CODE_RANK = {name: rank for rank, name in enumerate(CODES)}

# name as sent -> (squashed, rank as message, rank as code, rank as id, seconds of its unit or 0.0)
_Place = tuple[str, int, int, int, float]
_places: dict[str, _Place] = {}
_PLACES_KEPT = 4096
_NAME_LIMIT = 80


class Node(dict[str, "Any"]):
    """
    One object of the body under its squashed names; of two names that are one, the first.

    Attributes:
        messages: (rank, name) of the members that may be the message.
        codes: (rank, name) of the members that may be the code.
        ids: (rank, name) of the members that may be the request's id.
        waits: (seconds of the unit, name) of the members that say how long to wait.
        inner: (name, value) of the members that are objects or lists with something in them.
        members: The object as it was sent.
    """

    __slots__ = ("_children", "codes", "ids", "inner", "members", "messages", "waits")

    def __init__(self, members: dict[Any, Any]) -> None:
        self.members = members
        self.messages: list[tuple[int, str]] = []
        self.codes: list[tuple[int, str]] = []
        self.ids: list[tuple[int, str]] = []
        self.waits: list[tuple[float, str]] = []
        self.inner: list[tuple[str, Any]] = []
        self._children: dict[str, Node] | None = None
        for sent, value in members.items():
            name, message, code, ident, unit = _places.get(sent) or _find_place(sent)
            if value is None or name in self:
                continue
            self[name] = value
            if message != NO_RANK:
                self.messages.append((message, name))
            if code != NO_RANK:
                self.codes.append((code, name))
            if ident != NO_RANK:
                self.ids.append((ident, name))
            if unit:
                self.waits.append((unit, name))
            if value and isinstance(value, (dict, list)):
                self.inner.append((name, value))
        if len(self.messages) > 1:
            self.messages.sort()
        if len(self.codes) > 1:
            self.codes.sort()

    def child(self, name: str, members: dict[Any, Any]) -> Node:
        """The object `members` that stands under `name`."""
        if self._children is None:
            self._children = {}
        node = self._children.get(name)
        if node is None:
            node = self._children[name] = Node(members)
        return node

    def around(self) -> list[Node]:
        """The small objects that are members of this one."""
        return [self.child(n, v) for n, v in self.inner if isinstance(v, dict) and len(v) < SMALL]


def squash(name: str) -> str:
    """
    `name` in lower case, without punctuation and without the prefix of a namespace (`hydra:title`,
    `odata.error`): the one spelling of all its spellings.
    """
    place = _places.get(name) or _find_place(name)
    return place[0]


def squashed_members(members: dict[Any, Any]) -> dict[str, Any]:
    """The members of an object under their squashed names; of two that are one, the first."""
    found: dict[str, Any] = {}
    for name, value in members.items():
        found.setdefault((_places.get(name) or _find_place(name))[0], value)
    return found


def _find_place(sent: str) -> _Place:
    name = _squashed(sent[:_NAME_LIMIT])
    message = _MESSAGE_RANK.get(name, NO_RANK)
    if message == NO_RANK and (name.endswith(_MESSAGE_ENDS) or name.startswith("message")):
        message = _MESSAGE_RANK["displaymessage"]
    code = _CODE_RANK.get(name, NO_RANK)
    if code == NO_RANK and name.endswith(_CODE_ENDS):
        code = _CODE_RANK["errorkey"]
    elif code == NO_RANK and name.endswith("code") and not _OTHER_CODES.search(name):
        code = len(CODES)
    place = (name, message, code, _id_rank(name), _wait_unit(name))
    if len(sent) <= _NAME_LIMIT:
        if len(_places) >= _PLACES_KEPT:
            _places.clear()
        _places[sent] = place
    return place


def _squashed(name: str) -> str:
    lower = name.lower().removeprefix("odata.")
    local = lower.rpartition(":")[2] or lower
    return "".join(c for c in local if c.isalnum() or c == "#")


def _id_rank(name: str) -> int:
    if name == "id":
        return DOUBTFUL_ID
    if name == "errorid":
        return ERROR_ID
    if not name.endswith(("id", "uuid")) or _FOREIGN_ID.search(name):
        return NO_RANK
    return next((rank for rank, endings in IDS if name.endswith(endings)), NO_RANK)


def _wait_unit(name: str) -> float:
    match = _WAIT.search(name)
    if match is None:
        return 0.0
    return 0.001 if (match[1] or "").startswith("m") else 1.0
