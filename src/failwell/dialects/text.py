"""Plain text: the message and nothing else."""

from __future__ import annotations

from failwell.dialects import general, page
from failwell.dialects.base import Said
from failwell.dialects.parts import headline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure


class Text:
    """
    A sentence as `text/plain`. Carries the message, up to a limit.

    Read only when no other dialect can read the body, since this one takes anything.
    """

    name = "text"

    def read(self, answer: Answer, body: Any) -> Said | None:
        if body is not None:
            return None
        text = answer.body.decode("utf-8", "replace").strip()
        code = page.text_code(text) or general.header_code(answer.headers)
        return Said(message=page.text_message(text), code=code)

    def write(self, failure: Failure) -> tuple[str, bytes]:
        return "text/plain; charset=utf-8", headline(failure).encode("utf-8", "replace")


TEXT = Text()
