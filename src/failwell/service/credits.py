"""
Credits and quotas: what a tenant has left, in units of its own, and a ledger of every change.

An account is a balance of one unit, such as `credits` or `bytes`. One that was bought is spent
once and refused with 402. One that is an allowance, a quota, comes back with each period and is
refused as such. A debit is written in the transaction of the effect that it pays for, so that a
crash can neither charge twice nor forget to charge, and a replay costs nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# What is kept of an account, a database and JSON have to hold exactly.
MOST_CREDITS = 2**53


def check_amount(amount: object, what: str, *, least: int = -MOST_CREDITS) -> None:
    """
    Refuse what is no amount of a unit.

    Args:
        amount: What was said.
        what: What it is, for the message.
        least: The least that it may be.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is below `least` or above `MOST_CREDITS`.
    """
    if not isinstance(amount, int) or isinstance(amount, bool):
        raise TypeError(f"{what} is a whole number, not {amount!r}: count in a smaller unit")
    if not least <= amount <= MOST_CREDITS:
        raise ValueError(f"{what} is from {least} to {MOST_CREDITS}, not {amount}")


def check_period(period: object) -> None:
    """
    Refuse what is no period of an allowance.

    Raises:
        TypeError: it is no number of seconds.
        ValueError: it does not end, or is none.
    """
    if period is None:
        return
    if not isinstance(period, (int, float)) or isinstance(period, bool):
        raise TypeError(f"a period is a number of seconds, or None, not {period!r}")
    if not (math.isfinite(period) and period > 0):
        raise ValueError(f"a period is more than 0 seconds, not {period}; None for an allowance without any")


@dataclass(frozen=True, slots=True)
class Debit:
    """
    What an effect costs.

    Attributes:
        amount: How much; below 0 gives back, such as when a stored file is deleted.
        unit: Of what.

    Raises:
        TypeError: the amount is no whole number.
        ValueError: it is larger than `MOST_CREDITS`.
    """

    amount: int
    unit: str = "credits"

    def __post_init__(self) -> None:
        check_amount(self.amount, "what an effect costs")


@dataclass(frozen=True, slots=True)
class Account:
    """
    What a tenant has of one unit.

    Attributes:
        tenant: Whose.
        unit: Of what.
        balance: What is left; 0 or more.
        allowance: What each period begins with; None if the balance was bought.
        renews_at: Unix seconds at which the next period begins; None for an allowance without
            periods, such as storage.
    """

    tenant: str
    unit: str
    balance: int
    allowance: int | None = None
    renews_at: float | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """
    One line of the ledger; lines are never changed, and their amounts add up to the balance.

    Attributes:
        seq: Grows with each line.
        tenant: Whose account.
        unit: Of what.
        amount: What was added; below 0 for a debit.
        balance: What was left afterwards.
        reason: Such as `debit`, `grant` or `renewal`.
        request_id: The request that caused it; empty if none did.
        at: Unix seconds.
    """

    seq: int
    tenant: str
    unit: str
    amount: int
    balance: int
    reason: str
    request_id: str
    at: float


class InsufficientCreditsError(Exception):
    """
    There is less left than an effect costs; it was rolled back.

    Attributes:
        account: As it was found.
        required: What was asked for.
    """

    def __init__(self, account: Account, required: int) -> None:
        super().__init__(f"{required} {account.unit} needed, {account.balance} left")
        self.account = account
        self.required = required

    def __reduce__(self) -> tuple[type[InsufficientCreditsError], tuple[Account, int]]:
        return type(self), (self.account, self.required)
