"""
A client for the Argus content-safety API.

    from argus import Argus, ArgusError

    with Argus(api_key="sk_...") as argus:
        result = argus.check("Try Globex instead!", competitors=["Globex"])

Every name below is loaded when it is first used, so that catching an error loads no HTTP engine.
"""

from __future__ import annotations

from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argus.client import Argus as Argus
    from argus.client import AsyncArgus as AsyncArgus
    from argus.contract import CONTRACT as CONTRACT
    from argus.errors import ArgusAPIError as ArgusAPIError
    from argus.errors import ArgusAuthenticationError as ArgusAuthenticationError
    from argus.errors import ArgusCallError as ArgusCallError
    from argus.errors import ArgusConnectionError as ArgusConnectionError
    from argus.errors import ArgusError as ArgusError
    from argus.errors import ArgusInternalServerError as ArgusInternalServerError
    from argus.errors import ArgusNotFoundError as ArgusNotFoundError
    from argus.errors import ArgusPermissionError as ArgusPermissionError
    from argus.errors import ArgusTypeError as ArgusTypeError
    from argus.errors import ArgusValueError as ArgusValueError
    from argus.models import Asset as Asset
    from argus.models import BatchResult as BatchResult
    from argus.models import CheckResult as CheckResult
    from argus.models import Finding as Finding
    from argus.models import Page as Page

# Where each name lives. The reader's list is above; a test holds that both say the same.
_HOMES = {
    "argus.client": ("Argus", "AsyncArgus"),
    "argus.contract": ("CONTRACT",),
    "argus.errors": (
        "ArgusAPIError",
        "ArgusAuthenticationError",
        "ArgusCallError",
        "ArgusConnectionError",
        "ArgusError",
        "ArgusInternalServerError",
        "ArgusNotFoundError",
        "ArgusPermissionError",
        "ArgusTypeError",
        "ArgusValueError",
    ),
    "argus.models": ("Asset", "BatchResult", "CheckResult", "Finding", "Page"),
}

__version__ = "0.1.0"
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)  # pyright: ignore[reportUnsupportedDunderAll]  # made from the list above
