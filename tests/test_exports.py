"""Names that are loaded when they are first used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import failwell
from failwell.exports import exports
from failwell.testing import assert_exports

SOURCE = """
from failwell.exports import exports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from shop_errors import ShopError as ShopError

_HOMES = {"shop_errors": ("ShopError",)}
__version__ = "1.2.3"
__all__, __getattr__, __dir__ = exports(__name__, _HOMES)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "shop.py").write_text(SOURCE)
    (tmp_path / "shop_errors.py").write_text("class ShopError(Exception): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("shop", "shop_errors"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import shop

    yield shop
    for name in ("shop", "shop_errors"):
        sys.modules.pop(name, None)


def test_a_name_is_loaded_when_it_is_first_used_and_looked_up_once(shop: ModuleType) -> None:
    assert "shop_errors" not in sys.modules

    found = shop.ShopError

    assert found.__module__ == "shop_errors"
    assert vars(shop)["ShopError"] is found


def test_the_promised_names_are_listed_with_the_version(shop: ModuleType) -> None:
    assert shop.__all__ == ["ShopError"]
    assert dir(shop) == ["ShopError", "__version__"]


def test_a_module_without_a_version_lists_its_names() -> None:
    module = ModuleType("shelf")
    sys.modules["shelf"] = module
    try:
        promised, _, listed = exports("shelf", {"math": ("tau", "e")})
        assert listed() == promised == ["e", "tau"]
    finally:
        del sys.modules["shelf"]


def test_another_name_is_an_attribute_error(shop: ModuleType) -> None:
    with pytest.raises(AttributeError, match="module 'shop' has no attribute 'ShopErorr'"):
        _ = shop.ShopErorr


def test_both_lists_of_a_package_say_the_same(shop: ModuleType) -> None:
    assert_exports(shop, shop._HOMES)
    assert_exports(failwell, failwell._HOMES)


@pytest.mark.parametrize(
    ("homes", "says"),
    [
        ({}, "different things of ShopError of shop_errors"),
        ({"shop_errors": ("ShopError", "Till")}, "Till of shop_errors"),
        ({"elsewhere": ("ShopError",)}, "ShopError of elsewhere, ShopError of shop_errors"),
    ],
)
def test_lists_that_differ_are_found(shop: ModuleType, homes: dict[str, tuple[str, ...]], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        assert_exports(shop, homes)


def test_a_name_that_cannot_be_had_is_found(shop: ModuleType) -> None:
    import shop_errors

    del shop_errors.ShopError
    vars(shop).pop("ShopError", None)

    with pytest.raises(AssertionError, match="shop has no ShopError"):
        assert_exports(shop, shop._HOMES)
