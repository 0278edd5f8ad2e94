"""
A client for the Agoralia API: typed errors, safe retries, sync and async.

Every name below is loaded when it is first used, so that catching an error costs no engine.
"""

from __future__ import annotations

from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from agoralia.client import Agoralia as Agoralia
    from agoralia.client import AsyncAgoralia as AsyncAgoralia
    from agoralia.contract import CONTRACT as CONTRACT
    from agoralia.errors import AgoraliaAPIError as AgoraliaAPIError
    from agoralia.errors import AgoraliaAuthenticationError as AgoraliaAuthenticationError
    from agoralia.errors import AgoraliaBadAnswerError as AgoraliaBadAnswerError
    from agoralia.errors import AgoraliaBadRequestError as AgoraliaBadRequestError
    from agoralia.errors import AgoraliaConflictError as AgoraliaConflictError
    from agoralia.errors import AgoraliaConnectError as AgoraliaConnectError
    from agoralia.errors import AgoraliaConnectionError as AgoraliaConnectionError
    from agoralia.errors import AgoraliaConnectionLostError as AgoraliaConnectionLostError
    from agoralia.errors import AgoraliaDeadlineError as AgoraliaDeadlineError
    from agoralia.errors import AgoraliaIdempotencyError as AgoraliaIdempotencyError
    from agoralia.errors import AgoraliaInProgressError as AgoraliaInProgressError
    from agoralia.errors import AgoraliaNotFoundError as AgoraliaNotFoundError
    from agoralia.errors import AgoraliaPermissionError as AgoraliaPermissionError
    from agoralia.errors import AgoraliaRateLimitError as AgoraliaRateLimitError
    from agoralia.errors import AgoraliaServerError as AgoraliaServerError
    from agoralia.errors import AgoraliaStatusError as AgoraliaStatusError
    from agoralia.errors import AgoraliaTimeoutError as AgoraliaTimeoutError
    from agoralia.errors import AgoraliaUnavailableError as AgoraliaUnavailableError
    from agoralia.errors import AgoraliaValidationError as AgoraliaValidationError
    from agoralia.models import Agent as Agent
    from agoralia.models import Campaign as Campaign
    from agoralia.models import CampaignResult as CampaignResult
    from agoralia.models import CampaignResults as CampaignResults
    from agoralia.models import Me as Me
    from agoralia.models import Page as Page
    from agoralia.requests import handle_api_error as handle_api_error
    from agoralia.requests import make_request_with_retry as make_request_with_retry

# Where each name lives. The reader's list is above; a test holds that both say the same.
_HOMES = {
    "agoralia.client": ("Agoralia", "AsyncAgoralia"),
    "agoralia.contract": ("CONTRACT",),
    "agoralia.errors": (
        "AgoraliaAPIError",
        "AgoraliaAuthenticationError",
        "AgoraliaBadAnswerError",
        "AgoraliaBadRequestError",
        "AgoraliaConflictError",
        "AgoraliaConnectError",
        "AgoraliaConnectionError",
        "AgoraliaConnectionLostError",
        "AgoraliaDeadlineError",
        "AgoraliaIdempotencyError",
        "AgoraliaInProgressError",
        "AgoraliaNotFoundError",
        "AgoraliaPermissionError",
        "AgoraliaRateLimitError",
        "AgoraliaServerError",
        "AgoraliaStatusError",
        "AgoraliaTimeoutError",
        "AgoraliaUnavailableError",
        "AgoraliaValidationError",
    ),
    "agoralia.models": ("Agent", "Campaign", "CampaignResult", "CampaignResults", "Me", "Page"),
    "agoralia.requests": ("handle_api_error", "make_request_with_retry"),
}

__version__ = "0.1.0"
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # made from the list above
