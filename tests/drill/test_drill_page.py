"""The page of a drill: what is wrong first, what is closed as text, filters, links that open."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

import failwell.drill
from failwell.drill import DrillResult
from failwell.drill.reports.page import _anchor
from failwell.drill.selftest.naive import Naive
from failwell.drill.selftest.toy import Toy


class Seen(HTMLParser):
    """What a browser makes of a page before anything is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)


def seen(page: str) -> Seen:
    parser = Seen()
    parser.feed(page)
    parser.close()
    return parser


@pytest.fixture(scope="module")
def result() -> DrillResult:
    return failwell.drill.run([Toy(), Naive("forgets the cause")], only=["S09", "S57"], seed=7)


@pytest.fixture(scope="module")
def page(result: DrillResult) -> str:
    return result.to_html()


def test_every_element_ends_where_it_has_to(page: str) -> None:
    found = seen(page)

    assert (found.unbalanced, found.open) == ([], [])


def test_findings_come_first_with_their_rule_and_the_command_that_repeats_them(page: str) -> None:
    findings = page[page.index('<section class="findings">') : page.index('<section class="legend"')]

    assert "<b>FD-cause</b> __cause__ is the exception of the HTTP library." in findings
    assert '<a href="#s-S09">naive S09 sync</a>' in findings
    assert "failwell drill naive --only S09 --form sync --seed 7" in findings


def test_a_good_run_has_no_findings(result: DrillResult) -> None:
    good = DrillResult(rows=[r for r in result.rows if r.subject == "toy"])

    assert 'class="findings"' not in good.to_html()


def test_what_passed_is_text_until_it_is_opened_and_what_failed_is_open(page: str) -> None:
    """Thousands of drawings at once would take a browser seconds to lay out."""
    scenarios = [attributes for tag, attributes in seen(page).tags if tag == "details" and "id" in attributes]

    assert {a["id"]: "open" in a for a in scenarios} == {"s-S09": True, "s-S57": False}
    articles = sum(tag == "article" for tag, _ in seen(page).tags)
    assert articles == 3  # those of S09: two forms of the toy, one of the naive client
    assert page.count("<article") == 6


def test_text_that_waits_ends_where_it_has_to(result: DrillResult) -> None:
    """Whatever a service said, it does not end the element that keeps the text."""
    row = next(r for r in result.rows if r.scenario.id == "S57")
    row.notes.append("</script><script>alert(1)</script>")
    try:
        page = result.to_html()
    finally:
        row.notes.pop()

    assert "<script>alert" not in page
    assert seen(page).unbalanced == []


def test_every_link_leads_to_a_scenario(page: str) -> None:
    tags = seen(page).tags
    ids = {attributes.get("id") for _, attributes in tags}

    links = [a["href"] for tag, a in tags if tag == "a"]
    assert links
    assert [link for link in links if (link or "").removeprefix("#") not in ids] == []


def test_an_anchor_is_of_letters_that_every_address_may_hold() -> None:
    assert _anchor("E-KneoError-bad key/ä") == "s-E-KneoError-bad_key__"


def test_scenarios_can_be_found_by_sdk_and_by_word(page: str) -> None:
    assert 'data-subject="toy"' in page
    assert 'data-subjects="toy naive"' in page
    assert re.search(r'data-find="s09 [^"]* toy naive"', page)
    assert '<output id="shown" aria-live="polite">2 scenarios</output>' in page


def test_one_sdk_needs_no_buttons(result: DrillResult) -> None:
    page = DrillResult(rows=[r for r in result.rows if r.subject == "toy"]).to_html()

    assert 'class="subject"' not in page


def test_the_figures_stand_under_the_score(page: str) -> None:
    assert "<dt>in the ledger</dt><dd>0 lost, 0 duplicated</dd>" in page
    assert re.search(r"<dd>\d+ of \d+ as precise as can be</dd>", page)
