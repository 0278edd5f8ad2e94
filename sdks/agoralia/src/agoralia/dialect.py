"""How the Agoralia API spells an error body: FastAPI's `{"detail": ...}`, with any code in a header."""

from __future__ import annotations

from dataclasses import replace

from failwell.dialects.fastapi import FastAPI

TYPE_CHECKING = False
if TYPE_CHECKING:
    from failwell.failure import Failure

# Sent as `X-Error-Code` with the 409 of a request that is still running, so that it can be told
# apart from a key that was used with another body: the document gives both the same form.
IN_PROGRESS = "idempotency_in_progress"


class Detail(FastAPI):
    """FastAPI's error body; `detail` stays text where the header says the rest."""

    name = "agoralia"

    def write(self, failure: Failure) -> tuple[str, bytes]:
        """The body that means `failure`."""
        return super().write(replace(failure, code=None) if failure.code == IN_PROGRESS else failure)


DETAIL = Detail()
