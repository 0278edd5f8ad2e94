"""
OAuth 2: `{"error": "invalid_grant", "error_description": "..."}`.

Source:
    RFC 6749, section 5.2; RFC 6750, section 3.1; OpenID Connect Core, section 3.1.2.6.
"""

from __future__ import annotations

from failwell.dialects import general
from failwell.dialects.base import Said
from failwell.dialects.parts import JSON, json_bytes, sentence, without_none, word
from failwell.dialects.places import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.answer import Answer
    from failwell.failure import Failure

# What the registry says about who the caller is; the other codes leave it to the status.
_WHO = frozenset({"invalid_grant", "invalid_client", "invalid_token", "login_required"})
CODES = _WHO | frozenset(
    {
        "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_grant_type", "access_denied",
        "unsupported_response_type", "server_error", "temporarily_unavailable", "insufficient_scope",
        "authorization_pending", "slow_down", "expired_token", "interaction_required", "consent_required",
        "unsupported_token_type", "invalid_target", "invalid_redirect_uri", "invalid_client_metadata",
    }
)  # fmt: skip


class OAuth:
    """RFC 6749. Carries message and code, no fields."""

    name = "oauth"

    def read(self, answer: Answer, body: Any) -> Said | None:
        code = body.get("error") if isinstance(body, dict) else None
        if not isinstance(code, str) or not code or " " in code:
            return None
        description = body.get("error_description")
        if description is None and (code not in CODES or "message" in body):
            return None
        said = Said(message=sentence(description), code=word(code), request_id=general.body_id([Node(body)]))
        if code in _WHO and answer.status in (200, 400, 403):
            said.meaning = "authentication"
        return said

    def write(self, failure: Failure) -> tuple[str, bytes]:
        body = {"error": failure.code or "server_error", "error_description": failure.message}
        return JSON, json_bytes(without_none(body))


OAUTH = OAuth()
