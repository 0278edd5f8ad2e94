"""What is said of an order that cannot be carried out, by every engine alike."""

from __future__ import annotations

import re

from failwell.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from failwell.call.messages import Request

# RFC 9110, section 8.6: these announce the length of a body even if there is none.
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
# RFC 9110, sections 5.1 and 5.5, as h11 reads them.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"(?:[!-~\x80-\xff]+(?:[ \t]+[!-~\x80-\xff]+)*)?")


def unsendable(request: Request) -> UsageError:
    """What to say of a request that HTTP has no way to write: names, never values."""
    for name, value in request.headers.items():
        if not _NAME.fullmatch(name):
            return UsageError("A header's name has a character that HTTP does not allow.")
        if not _VALUE.fullmatch(value):
            return UsageError(f"The value of the header {name!r} has a character that HTTP does not allow.")
    return UsageError("The request has a method or a header that HTTP does not allow.")


def is_sendable(request: Request) -> bool:
    """Whether HTTP can write the headers of `request`."""
    return all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in request.headers.items())
