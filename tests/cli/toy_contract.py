"""A contract of an SDK, small enough to read at a glance."""

from __future__ import annotations

from datetime import UTC, datetime

from failwell import APIError, Contract, Rule
from failwell import ConflictError as StandardConflict
from failwell import RateLimitError as StandardLimit

NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)


class ToyError(APIError):
    """A call to the toy service failed."""


class ToyBusyError(ToyError, StandardConflict):
    """
    The toy is in other hands.

    ## Was it carried out?
    No.

    ## What to do
    Wait for your turn.
    """


class ToyLimitError(ToyError, StandardLimit):
    """Too many toys at once."""


TOY = Contract(
    "toy",
    base=ToyError,
    rules=[
        Rule(ToyBusyError, status=409, code="toy_taken", means="Another child has it.", retry=True),
        Rule(ToyBusyError, status=409),
        Rule(ToyLimitError, status=429),
    ],
)
