"""
Names of a package that are loaded when they are first used.

    from failwell.exports import exports

    TYPE_CHECKING = False
    if TYPE_CHECKING:
        from shop.client import Shop as Shop
        from shop.errors import ShopError as ShopError

    _HOMES = {"shop.client": ("Shop",), "shop.errors": ("ShopError",)}
    __all__, __getattr__, __dir__ = exports(__name__, _HOMES)

So catching an exception loads no HTTP engine. Type checkers read the block above and know nothing
of the table; `failwell.testing.assert_exports` holds that both say the same.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def exports(
    module: str, homes: Mapping[str, Sequence[str]]
) -> tuple[list[str], Callable[[str], object], Callable[[], list[str]]]:
    """
    What a module needs to have names that live elsewhere.

    Args:
        module: Its `__name__`.
        homes: Each module that is loaded on demand, and the names that are taken from it.

    Returns:
        `__all__` with the names in order, `__getattr__` and `__dir__`. A name that is not in the
        table is an `AttributeError`; one that is there is looked up once.
    """
    home_of = {name: home for home, names in homes.items() for name in names}
    promised = sorted(home_of)

    def load(name: str) -> object:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        value: object = getattr(import_module(home), name)
        setattr(sys.modules[module], name, value)  # the next look-up does not come here
        return value

    def listed() -> list[str]:
        return [*promised, "__version__"] if hasattr(sys.modules[module], "__version__") else promised

    return promised, load, listed
