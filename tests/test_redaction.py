"""What may be kept: by allow-list, with a second net for what a service repeats."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Secret
from failwell.redaction import MASK, kept_header, kept_headers, kept_url, scrub, secrets_in_url

KEY = "s3cr3t-value"


@pytest.mark.parametrize(
    "name",
    ["retry-after", "x-request-id", "acme-request-id", "x-ratelimit-remaining", "ratelimit-policy", "date",
     "www-authenticate", "x-amzn-errortype", "x-error-code", "cf-ray", "retry-after-ms",
     "x-ms-correlation-id"],
)  # fmt: skip
def test_a_header_that_helps_is_kept(name: str) -> None:
    assert kept_header(name)


@pytest.mark.parametrize(
    "name",
    ["set-cookie", "authorization", "x-api-key", "location", "x-user", "x-new-secret", "link", "etag", ""],
)
def test_a_header_nobody_thought_of_is_not(name: str) -> None:
    assert not kept_header(name)


def test_of_an_answers_headers_only_those_stay() -> None:
    assert kept_headers({"date": "now", "set-cookie": KEY}) == {"date": "now"}


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://h/a?page=2&token=x&q=y&flag", "https://h/a?page=2&token=***&q=***&flag"),
        ("https://h/a?token=", "https://h/a?token="),
        ("https://h/a#token=x", "https://h/a"),
        ("https://u:p@h:8080/a", "https://h:8080/a"),
        ("https://u@h/a", "https://h/a"),
        ("https://u:p@h/a//b", "https://h/a//b"),
        ("https://u:p@x@h/a", "https://h/a"),
        ("//u:p@h/a", "//h/a"),
        ("u:p@h/a", "h/a"),
        ("http://[::1]:80/a", "http://[::1]:80/a"),
        ("http://u:p/w@h/a", "http://***"),
        ("http://u:p?w@h/a", "http://***"),
        ("http://u:p#w@h/a", "http://***"),
        ("http://h:80:90/", "http://***"),
        ("http://h:/", "http://h:/"),
        ("/a@b/c", "/a@b/c"),
        ("/a//b@c", "/a//b@c"),
        ("@me/a", "@me/a"),
        ("text", "text"),
        ("", ""),
    ],
)
def test_of_a_url_only_what_names_the_thing_is_kept(url: str, kept: str) -> None:
    assert kept_url(url) == kept


@given(st.text(), st.text(), st.text())
def test_no_text_breaks_it(scheme: str, middle: str, query: str) -> None:
    kept = kept_url(f"{scheme}://{middle}?{query}")

    assert kept_url(kept).rstrip("*") == kept.rstrip("*") or "?" in kept


@given(
    st.sampled_from(["user", "key", ""]), st.sampled_from(["/", "?", "#", "@", ":", "%2F", ""]), st.booleans()
)
def test_no_part_of_a_password_survives(user: str, odd: str, scheme: bool) -> None:
    url = f"{'https://' if scheme else '//'}{user}:{KEY}{odd}{KEY}@api.example/path?{KEY}={KEY}&page=1"

    assert KEY not in kept_url(url).partition("?")[0]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("https://h/a", ()),
        ("https://h/a?page=2&filter=abcdef", ()),
        ("https://h/a?q=words+of+a+search", ()),
        ("https://h/a?API_KEY=a%2Bb+c&x=1", ("a%2Bb+c", "a+b c")),
        ("https://h/a?access_token=t&sig=s&Password=p#f", ("t", "s", "p")),
        ("https://u:p%40w@h/a", ("u:p%40w", "u:p@w", "p%40w", "p@w")),
        ("https://h/a@b", ()),
        ("/a?token=t", ("t",)),
    ],
)
def test_the_secrets_of_a_url_are_known(url: str, found: tuple[str, ...]) -> None:
    assert tuple(str.__str__(s) for s in secrets_in_url(url)) == found
    assert all(type(s) is Secret for s in secrets_in_url(url))


def test_a_secret_prints_as_a_mask_and_works_as_text() -> None:
    secret = Secret(KEY)

    assert repr(secret) == repr({"a": secret}["a"]) == f"'{MASK}'"
    assert KEY not in repr([secret, {secret: secret}])
    assert secret == KEY
    assert f"Bearer {secret}" == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        (f"a {KEY} b {KEY}", f"a {MASK} b {MASK}"),
        ({KEY: [KEY, (KEY, 1)], "n": None}, {MASK: [MASK, (MASK, 1)], "n": None}),
        (7, 7),
        ("nothing", "nothing"),
        (Secret(KEY), MASK),
    ],
)
def test_a_repeated_secret_is_masked_wherever_it_stands(value: Any, clean: Any) -> None:
    assert scrub(value, [KEY]) == clean


def test_a_short_secret_is_left_alone() -> None:
    assert scrub("a cat", ["cat"]) == "a cat"
    assert scrub("a cat", []) == "a cat"


def test_a_secret_within_another_leaves_no_rest_of_it() -> None:
    assert scrub("Bearer abcdefgh-more", ["abcdefgh", "abcdefgh-more"]) == f"Bearer {MASK}"


def test_what_is_nested_deeper_than_anybody_looks_is_masked_whole() -> None:
    deep: Any = KEY
    for _ in range(200):
        deep = [deep]

    assert KEY not in str(scrub(deep, [KEY]))
    assert scrub(deep, ["another secret"]) != deep
    flat: Any = KEY
    for _ in range(31):
        flat = [flat]
    assert KEY not in str(scrub(flat, [KEY]))
    assert scrub(scrub(flat, ["another secret"]), ["other secret"]) == flat


@given(st.text(min_size=8), st.text(), st.text())
def test_masking_leaves_nothing_of_it(secret: str, before: str, after: str) -> None:
    text = f"{before}{secret}{after}"
    clean = scrub(text, [secret])

    # The mask itself, next to what stood around, could spell it again; nothing of the text does.
    assert all(secret not in part for part in clean.split(MASK))


@pytest.mark.parametrize("end", ["", "...", "\u2026"])
def test_the_beginning_of_a_secret_at_the_end_of_a_cut_text_is_masked(end: str) -> None:
    assert scrub(f"got {KEY[:9]}{end}", [KEY]) == f"got {MASK}{end}"
    assert scrub(f"got {KEY[:9]} and more", [KEY]) == f"got {KEY[:9]} and more"


@pytest.mark.parametrize(
    ("text", "clean"),
    [("aaaaaaaa aaaaaaaa", f"aaaaaaaa {MASK}"), ("aaaaaaaa aaaaaaac", "aaaaaaaa aaaaaaac")],
)
def test_of_several_beginnings_the_one_at_the_end_counts(text: str, clean: str) -> None:
    assert scrub(text, ["aaaaaaaaaaaaaab"]) == clean
