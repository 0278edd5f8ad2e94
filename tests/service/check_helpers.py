"""A second module of a service, for the reading of what handlers call in other modules."""

from __future__ import annotations

from typing import Any

import failwell
from failwell import Failure
from failwell.service import Refusal, RefusedRequest


class Ledger:
    """Something a handler has."""

    def debit(self) -> None:
        raise failwell.PaymentRequiredError("no", failure=Failure(status=402, code="poor"))

    @property
    def balance(self) -> int:
        raise failwell.PaymentRequiredError("no", failure=Failure(status=402, code="property"))

    @classmethod
    def of(cls) -> Any:
        raise failwell.PaymentRequiredError("no", failure=Failure(status=402, code="classmethod"))

    @staticmethod
    def still() -> None:
        raise failwell.PaymentRequiredError("no", failure=Failure(status=402, code="staticmethod"))


def refused(message: str) -> RefusedRequest:
    """A helper that makes what its caller raises."""
    return RefusedRequest(Refusal("made_by_helper", message=message))
