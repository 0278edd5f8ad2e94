"""A base URL that cannot be used is refused, and not always repeated."""

from __future__ import annotations

import pytest

import failwell


def test_a_key_put_in_the_place_of_the_base_url_is_not_repeated() -> None:
    """Two settings swapped in an environment must not print the secret one."""
    with pytest.raises(failwell.ConfigurationError) as caught:
        failwell.Client("sk_live_0123456789abcdef")

    assert "sk_live" not in str(caught.value)
    assert "http://" in str(caught.value)
