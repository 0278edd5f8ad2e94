"""
A client for the Kneo platform.

    from kneo_client import KneoClient
    from kneo_client.core.errors import KneoError

    with KneoClient() as client:
        run = client.platform.runs.create({"spec_id": "spec_1"})

Every name below is loaded when it is first used, so that catching an error loads no HTTP engine.
"""

from __future__ import annotations

from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from failwell.call.messages import Timeouts as Timeouts
    from kneo_client.client import AsyncKneoClient as AsyncKneoClient
    from kneo_client.client import KneoClient as KneoClient
    from kneo_client.core.contract import CONTRACT as CONTRACT
    from kneo_client.core.errors import KneoAuthError as KneoAuthError
    from kneo_client.core.errors import KneoConflictError as KneoConflictError
    from kneo_client.core.errors import KneoError as KneoError
    from kneo_client.core.errors import KneoIdempotencyMismatchError as KneoIdempotencyMismatchError
    from kneo_client.core.errors import KneoNetworkError as KneoNetworkError
    from kneo_client.core.errors import KneoNotFoundError as KneoNotFoundError
    from kneo_client.core.errors import KneoPermissionError as KneoPermissionError
    from kneo_client.core.errors import KneoRateLimited as KneoRateLimited
    from kneo_client.core.errors import KneoServerError as KneoServerError
    from kneo_client.core.errors import from_response as from_response
    from kneo_client.core.profile import Profile as Profile
    from kneo_client.core.retry import RetryPolicy as RetryPolicy
    from kneo_client.models import Environment as Environment
    from kneo_client.models import EnvironmentCreate as EnvironmentCreate
    from kneo_client.models import Health as Health
    from kneo_client.models import Page as Page
    from kneo_client.models import Run as Run
    from kneo_client.models import RunCreate as RunCreate
    from kneo_client.models import RunError as RunError
    from kneo_client.models import Spec as Spec
    from kneo_client.models import SpecCreate as SpecCreate

# Where each name lives. The reader's list is above; a test holds that both say the same.
_HOMES = {
    "failwell.call.messages": ("Timeouts",),
    "kneo_client.client": ("AsyncKneoClient", "KneoClient"),
    "kneo_client.core.contract": ("CONTRACT",),
    "kneo_client.core.errors": (
        "KneoAuthError",
        "KneoConflictError",
        "KneoError",
        "KneoIdempotencyMismatchError",
        "KneoNetworkError",
        "KneoNotFoundError",
        "KneoPermissionError",
        "KneoRateLimited",
        "KneoServerError",
        "from_response",
    ),
    "kneo_client.core.profile": ("Profile",),
    "kneo_client.core.retry": ("RetryPolicy",),
    "kneo_client.models": (
        "Environment",
        "EnvironmentCreate",
        "Health",
        "Page",
        "Run",
        "RunCreate",
        "RunError",
        "Spec",
        "SpecCreate",
    ),
}

__version__ = "0.1.0"
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # made from the list above
