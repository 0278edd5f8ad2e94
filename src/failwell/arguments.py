"""
Checks of what a caller passed, made before anything is sent.

    check = Arguments(CONTRACT)

    def get_run(run_id: str) -> Operation[Run]:
        return Operation("GET", f"/runs/{check.segment('run_id', run_id)}", Run.from_response)

Each check returns the value it was given, ready to be sent. What cannot be used is refused with the
class that the contract names for it: a wrong type with its `ArgumentTypeError`, named with the
argument and the type received; a wrong value with its `UsageError`; a setting that is missing or
malformed with its `ConfigurationError`. A refusal repeats no value that could be long or secret.
"""

from __future__ import annotations

from math import inf

from failwell.errors import ArgumentTypeError, ConfigurationError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, TypeVar

    from failwell.contract import Contract

    T = TypeVar("T")

# What 64 bits hold. No service counts further, and Python writes out no number of 4301 digits.
LEAST, MOST = -(2**63), 2**63 - 1

# So much of a wrong value is repeated.
_SHOWN = 40


class Arguments:
    """
    Checks arguments, and refuses with the classes of a contract.

    Args:
        contract: Its `usage` says what is raised; failwell's own classes by default.
    """

    __slots__ = ("_contract",)

    def __init__(self, contract: Contract | None = None) -> None:
        self._contract = contract

    # --- what is raised; for checks that an SDK makes itself ---

    def wrong_type(self, name: str, value: object, wanted: str) -> UsageError:
        """The refusal, not raised, of an argument of another type than `wanted` ("a list")."""
        return self._own(ArgumentTypeError(f"{name} is a {type(value).__name__}; give {wanted}"))

    def refused(self, message: str) -> UsageError:
        """The refusal, not raised, of an argument of the right type that cannot be used."""
        return self._own(UsageError(message))

    def misconfigured(self, message: str) -> UsageError:
        """The refusal, not raised, of a setting that is missing or malformed."""
        return self._own(ConfigurationError(message))

    def _own(self, error: UsageError) -> UsageError:
        return error if self._contract is None else self._contract.refusal(error)

    # --- one value ---

    def text(self, name: str, value: object, *, empty: bool = True, longest: int | None = None) -> str:
        """A string of at most `longest` characters; `empty` says whether it may be empty or blank."""
        if not isinstance(value, str):
            raise self.wrong_type(name, value, "a string")
        if not empty and not value.strip():
            raise self.refused(f"{name} is empty")
        if longest is not None and len(value) > longest:
            raise self.refused(f"{name} has {len(value)} characters; it has {longest} or less")
        return value

    def whole(self, name: str, value: object, *, least: int = LEAST, most: int = MOST) -> int:
        """An int from `least` to `most`; True and False are none."""
        # True would be sent as "True".
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.wrong_type(name, value, "an int")
        if not least <= value <= most:
            raise self.refused(f"{name} is {_number(value)}; it is {_range(least, most)}")
        return value

    def number(
        self,
        name: str,
        value: object,
        *,
        least: float | None = None,
        most: float | None = None,
        above: float | None = None,
        wanted: str = "a number",
    ) -> float:
        """A finite number, as a float, from `least` to `most`, or greater than `above`."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.wrong_type(name, value, wanted)
        if not (LEAST <= value <= MOST if isinstance(value, int) else -inf < value < inf):
            raise self.refused(f"{name} is {_number(value)}, which is no usable number")
        if above is not None and not value > above:
            raise self.refused(f"{name} is {value}; it is {wanted} above {above:g}")
        if (least is not None and value < least) or (most is not None and value > most):
            raise self.refused(f"{name} is {value}; it is {_range(least, most)}")
        return float(value)

    def seconds(self, name: str, value: object) -> float:
        """A number of seconds above 0."""
        return self.number(name, value, above=0.0, wanted="a number of seconds")

    def flag(self, name: str, value: object) -> bool:
        """True or False."""
        if not isinstance(value, bool):
            raise self.wrong_type(name, value, "True or False")
        return value

    def one_of(self, name: str, value: object, allowed: Collection[str]) -> str:
        """One of the strings `allowed`."""
        text = self.text(name, value)
        if text not in allowed:
            raise self.refused(f"{name} is {text[:_SHOWN]!r}; it is one of {', '.join(map(repr, allowed))}")
        return text

    def instance(self, name: str, value: Any, kind: type[T], wanted: str | None = None) -> T:
        """An instance of `kind`, which a refusal calls `wanted`."""
        if not isinstance(value, kind):
            raise self.wrong_type(name, value, wanted or f"a {kind.__name__}")
        return value

    def optional(self, check: Callable[..., T], name: str, value: object, **bounds: Any) -> T | None:
        """`check(name, value, ...)`, or None for None: `optional(check.whole, "limit", limit, least=1)`."""
        return None if value is None else check(name, value, **bounds)

    # --- several values ---

    def mapping(self, name: str, value: object, *, wanted: str = "a mapping") -> dict[str, Any]:
        """A mapping with names that are strings, as a dict."""
        from collections.abc import Mapping

        if not isinstance(value, Mapping):
            raise self.wrong_type(name, value, wanted)
        table = dict(value)
        for key in table:
            if not isinstance(key, str):
                raise self.wrong_type(f"a name in {name}", key, "a string")
        return table

    def items(
        self,
        name: str,
        value: object,
        check: Callable[[str, Any], T] | None = None,
        *,
        wanted: str = "a list",
        least: int = 0,
        most: int | None = None,
    ) -> list[T]:
        """
        A list, or another sequence that is no string, as a list.

        Args:
            name: The argument.
            value: What was passed.
            check: Made of each item, as `check("names[0]", item)`; None for none.
            wanted: What a refusal asks for: "a list of strings".
            least: How many it holds at least.
            most: How many it holds at most; None for no limit.
        """
        from collections.abc import Sequence

        if isinstance(value, (str, bytes, bytearray, memoryview)) or not isinstance(value, Sequence):
            raise self.wrong_type(name, value, wanted)
        given: list[Any] = list(value)
        if len(given) < least or (most is not None and len(given) > most):
            raise self.refused(f"{name} has {len(given)} items; it has {_range(least, most)}")
        return given if check is None else [check(f"{name}[{n}]", item) for n, item in enumerate(given)]

    def texts(
        self,
        name: str,
        value: object,
        *,
        least: int = 0,
        most: int | None = None,
        empty: bool = True,
        longest: int | None = None,
    ) -> list[str]:
        """A list of strings, each as `text` has it with `empty` and `longest`."""
        return self.items(
            name,
            value,
            lambda each, item: self.text(each, item, empty=empty, longest=longest),
            wanted="a list of strings",
            least=least,
            most=most,
        )

    def body(self, name: str, value: Any, model: type[Any]) -> dict[str, Any]:
        """A `model` (see `failwell.models.Model`), or a mapping with the same members, as a JSON object."""
        if isinstance(value, model):
            members: dict[str, Any] = value.to_json()
            return members
        return self.mapping(name, value, wanted=f"a dict or a {model.__name__}")

    # --- what becomes part of an address ---

    def segment(self, name: str, value: object) -> str:
        """
        A string as one segment of a path, percent-encoded.

        Source:
            RFC 3986, section 3.3.
        """
        from urllib.parse import quote

        text = self.text(name, value)
        # Dots are never encoded, and a path with them would be another path.
        if text.strip() in ("", ".", ".."):
            raise self.refused(f"{name} is {text[:_SHOWN]!r}, which is no id")
        try:
            return quote(text, safe="")
        except UnicodeEncodeError:
            pass
        # Raised here, so that the error with the text in it is no context of it.
        raise self.refused(f"{name} holds half a surrogate pair, which is no id")


def _number(value: Any) -> str:
    if isinstance(value, int) and not LEAST <= value <= MOST:
        return f"a number of {value.bit_length()} bits"
    return str(value)


def _range(least: Any, most: Any) -> str:
    """The range in words; one end that 64 bits set by themselves is not worth a word."""
    if least in (None, LEAST) and most in (None, MOST):
        return "a whole number of 64 bits"
    if most in (None, MOST):
        return f"{least} or more"
    return f"{most} or less" if least in (None, LEAST) else f"{least} to {most}"
