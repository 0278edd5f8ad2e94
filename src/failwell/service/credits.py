"""
Credits and quotas: what a tenant has left, in units of its own, and a ledger of every change.

An account is a balance of one unit, such as `credits` or `bytes`. One that was bought is spent
once and refused with 402. One that is an allowance, a quota, comes back with each period and is
refused as such. A debit is written in the transaction of the effect that it pays for, so that a
crash can neither charge twice nor forget to charge, and a replay costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Debit:
    """
    What an effect costs.

    Attributes:
        amount: How much; below 0 gives back, such as when a stored file is deleted.
        unit: Of what.
    """

    amount: int
    unit: str = "credits"


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
