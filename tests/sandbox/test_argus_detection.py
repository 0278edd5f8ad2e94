"""What Argus finds in texts, where, and in what time."""

from __future__ import annotations

import random
import string
import time
import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from failwell_sandbox.argus import personal
from failwell_sandbox.argus.names import mentions
from failwell_sandbox.argus.personal import luhn, mod97
from failwell_sandbox.argus.scan import DETECTORS, MOST_FINDINGS, scan
from failwell_sandbox.argus.secrets import crc_base62, entropy
from failwell_sandbox.argus.views import folded, plain

NAMES = [
    "Globex", "Acme Corp", "Café Noir", "阿里巴巴", "Яндекс", "Weißbier", "Istanbul Air", "Ørsted", "גלובקס",
    "مرحبا", "कंपनी", "삼성전자", "카카오 뱅크", "โกลเบ็กซ์", "ガストカ", "AT&T", "C++", "$FW", "Salt & Pepper",
]  # fmt: skip


def found(text: str, *, names: list[str] | None = None, min_score: float = 0.5) -> list[tuple[str, str]]:
    """Type and text of each finding."""
    said = scan(text, detect=DETECTORS, competitors=names or [], min_score=min_score)
    return [(each["type"], text[each["start"] : each["end"]]) for each in said["findings"]]


# --- names ---


@pytest.mark.parametrize(
    ("text", "how", "part"),
    [
        ("Try Globex!", "exact", "Globex"),
        ("GLOBEX's", "exact", "GLOBEX"),
        ("(globex)", "exact", "globex"),
        ("#globex_2", "exact", "globex"),
        ("Acme  \n Corp.", "exact", "Acme  \n Corp"),
        ("acme-corp.example", "exact", "acme-corp"),
        ("CAFÉ NOIR", "exact", "CAFÉ NOIR"),
        ("Cafe\u0301 Noir", "exact", "Cafe\u0301 Noir"),
        ("cafe noir", "disguised", "cafe noir"),
        ("我们比阿里巴巴好", "exact", "阿里巴巴"),
        ("ЯНДЕКС", "exact", "ЯНДЕКС"),
        ("G\u200bl\u200co\u200db\u2060e\ufeffx", "disguised", "G\u200bl\u200co\u200db\u2060e\ufeffx"),
        ("G\u00adlobex", "disguised", "G\u00adlobex"),
        ("\u202eGlobex\u202c", "exact", "Globex"),
        ("Gl\u043eb\u0435x", "disguised", "Gl\u043eb\u0435x"),
        ("\uff27\uff4c\uff4f\uff42\uff45\uff58", "disguised", "\uff27\uff4c\uff4f\uff42\uff45\uff58"),
        ("𝐆𝐥𝐨𝐛𝐞𝐱", "disguised", "𝐆𝐥𝐨𝐛𝐞𝐱"),
        ("Globbex", "fuzzy", "Globbex"),
        ("Glbex", "fuzzy", "Glbex"),
        ("Golbex", "fuzzy", "Golbex"),
        ("Acme Crop", "fuzzy", "Acme Crop"),
        ("AcmeCorp", "fuzzy", "AcmeCorp"),
        ("Glo bex", "fuzzy", "Glo bex"),
        ("Glo\x00bex", "fuzzy", "Glo\x00bex"),
        ("👩\u200d👩\u200d👧Globex👍🏽", "exact", "Globex"),
        ("Globex\u0301\u0302!", "disguised", "Globex\u0301\u0302"),
        ("a G\u20ddlobex", "disguised", "G\u20ddlobex"),
        ("WEISSBIER", "exact", "WEISSBIER"),
        ("der WEIẞBIER-Stand", "exact", "WEIẞBIER"),
        ("weiſsbier", "exact", "weiſsbier"),
        ("xx İstanbul Air", "disguised", "İstanbul Air"),
        ("ISTANBUL AIR", "exact", "ISTANBUL AIR"),
        ("ıstanbul air", "disguised", "ıstanbul air"),
        ("ﬁ GLOBEX ﬂ", "exact", "GLOBEX"),
        ("ORSTED", "disguised", "ORSTED"),
        ("ørsted", "exact", "ørsted"),
        ("גלובקס טוב", "exact", "גלובקס"),
        ("(גְלוֹבֶּקס)", "disguised", "גְלוֹבֶּקס"),
        ("مَرْحَبًا", "disguised", "مَرْحَبًا"),
        ("مرحبـــا", "disguised", "مرحبـــا"),
        ("एक कंपनी है", "exact", "कंपनी"),
        ("삼성전자는 좋다", "exact", "삼성전자"),
        (unicodedata.normalize("NFD", "삼성전자는"), "exact", unicodedata.normalize("NFD", "삼성전자")),
        ("카카오\n뱅크", "exact", "카카오\n뱅크"),
        ("카카오뱅크는", "disguised", "카카오뱅크"),
        ("ไทยโกลเบ็กซ์", "exact", "โกลเบ็กซ์"),
        ("ｶﾞｽﾄｶ", "disguised", "ｶﾞｽﾄｶ"),
        ("AT & T", "exact", "AT & T"),
        ("ＡＴ＆Ｔ", "disguised", "ＡＴ＆Ｔ"),
        ("use c++, too", "exact", "c++"),
        ("$FW.", "exact", "$FW"),
        ("Salt&Pepper", "exact", "Salt&Pepper"),
        ("Salt Pepper", "fuzzy", "Salt Pepper"),
        ("salt an pepper", "fuzzy", "salt an pepper"),
    ],
)
def test_a_name_is_found_as_it_is_disguised_or_misspelled(text: str, how: str, part: str) -> None:
    assert found(text, names=NAMES, min_score=0.8) == [(how, part)]


@pytest.mark.parametrize(
    "text",
    [
        "Globexian", "Glo", "bexGlo", "Acme", "Corp Acme", "G l o b e x", "Grob", "", "\u200b", "阿里",
        "कंपन", "ガストガ", "삼성전잗", "at T-shirts", "vitamin C", "C+", "C+++", "FW", "$FWX",
    ],
)  # fmt: skip
def test_what_is_another_word_is_not_found(text: str) -> None:
    assert found(text, names=NAMES, min_score=0.8) == []


def test_a_short_name_is_found_only_as_it_is() -> None:
    assert found("Oral", names=["Opal"]) == []
    assert found("OPAL", names=["Opal"]) == [("exact", "OPAL")]


def test_a_name_is_given_back_as_it_was_asked_for() -> None:
    (mention,) = mentions("about GLOBEX", ["globex"], 0.8)

    assert (mention.name, mention.start, mention.end, mention.score) == ("globex", 6, 12, 1.0)


def test_a_part_in_latin_letters_is_not_found_in_a_longer_word() -> None:
    assert found("우리LG전자는 LG전자다", names=["LG전자"]) == [("exact", "LG전자")] * 2
    assert found("XLG전자", names=["LG전자"], min_score=0.9) == []
    assert found("삼성SDI와", names=["삼성SDI"]) == [("exact", "삼성SDI")]
    assert found("삼성SDIX", names=["삼성SDI"], min_score=0.95) == []


def test_a_short_name_of_hangul_is_found_only_as_it_is() -> None:
    """Its two syllables are six letters, and one of them makes another word."""
    assert found("삼정", names=["삼성"]) == []
    assert found("삼성은", names=["삼성"]) == [("exact", "삼성")]


def test_each_of_the_names_that_overlap_is_found() -> None:
    assert found("an Acme Corp, an Acme", names=["Acme", "Acme Corp", "Corp"]) == [
        ("exact", "Acme"),
        ("exact", "Acme Corp"),
        ("exact", "Corp"),
        ("exact", "Acme"),
    ]


@pytest.mark.parametrize("name", ["", "!!!", "\u200b", "\x00", "   "])
def test_a_name_without_letters_and_digits_is_found_nowhere(name: str) -> None:
    assert mentions("!!! \x00 \u200b   text", [name], 0.0) == []


@given(
    st.text(max_size=30),
    st.sampled_from(["Globex", "GLOBEX", "globex"]),
    st.text(max_size=30),
    st.lists(st.sampled_from("\u200b\u200c\u200d\u2060\u00ad\u200e\u202e\ufe0f"), max_size=5),
)
@settings(
    deadline=None,
    max_examples=200,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_a_name_between_anything_is_found_where_it_stands(
    before: str, name: str, after: str, unseen: list[str]
) -> None:
    written = "".join(map("".join, zip(name, [*unseen, *[""] * 6], strict=False)))
    text = f"{before} {written} {after}"

    exact = [m for m in mentions(text, ["Globex"], 0.9) if m.start == len(before) + 1]

    # Invisible characters behind the last letter may or may not be counted to it.
    assert exact
    assert text[exact[0].start : exact[0].end].startswith(written.rstrip("".join(unseen)))


@given(st.text(max_size=200))
@settings(
    deadline=None,
    max_examples=300,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_every_text_has_spans_within_it_and_no_exception(text: str) -> None:
    if any("\ud800" <= char <= "\udfff" for char in text):
        return
    said = scan(text, detect=DETECTORS, competitors=[*NAMES, text[:20] or "x"], min_score=0.0)

    assert all(0 <= each["start"] < each["end"] <= len(text) for each in said["findings"])
    assert said["text_length"] == len(text)


@given(st.text(max_size=100))
@settings(
    deadline=None,
    max_examples=300,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_a_view_knows_where_each_of_its_characters_stood(text: str) -> None:
    for view in (plain(text), folded(text)):
        at = [view.index(n) for n in range(len(view.text))]
        assert at == sorted(at)
        assert all(0 <= index < len(text) for index in at)


# --- secrets ---


def github(prefix: str = "ghp_") -> str:
    body = "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5"
    return prefix + body + crc_base62(body)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (github(), "github_token"),
        (github("gho_"), "github_token"),
        (github("npm_"), "npm_token"),
        ("github_pat_" + "a1B" * 7 + "c_" + "d2E" * 19 + "fg", "github_pat"),
        ("glpat-" + "a1B2c" * 4, "gitlab_token"),
        ("AKIAIOSFODNN7EXAMPLE", "aws_access_key_id"),
        ("AIza" + "a1B2c" * 7, "google_api_key"),
        ("xoxb-" + "1234567890-" + "a1B2c" * 5, "slack_token"),
        ("sk_" + "live_" + "a1B2c" * 5, "stripe_key"),
        ("SG." + "a" * 22 + "." + "b" * 43, "sendgrid_key"),
        ("SK" + "0f" * 16, "twilio_key"),
        ("pypi-AgEIcHlwaS5vcmc" + "a1B2c" * 20, "pypi_token"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + "a1B2c" * 8, "jwt"),
        ("-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----", "private_key"),
        ("-----BEGIN PRIVATE KEY-----", "private_key"),
        ("sk_" + "a1B2" * 8, "argus_key"),
        ("rsk_" + "a1B2" * 8, "argus_key"),
    ],
)
def test_a_key_of_a_known_format_is_found_where_it_stands(text: str, kind: str) -> None:
    assert found(f"It is {text}, hush!") == [(kind, text)]
    assert found(f"x{text}") == [] or kind == "private_key"


def test_a_private_key_ends_with_the_first_end_behind_it() -> None:
    begin, end = "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----"

    text = f"{end} {begin} MHc {end} and {begin} once more {begin}"

    assert found(text) == [
        ("private_key", f"{begin} MHc {end}"), ("private_key", begin), ("private_key", begin),
    ]  # fmt: skip


def test_a_checksum_tells_a_token_from_what_looks_like_one() -> None:
    """The token is the one that GitHub's own account of the format shows."""
    good = "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"
    bad = good[:-1] + "8"

    scores = [
        each["score"]
        for each in scan(f"{good} {bad}", detect=["secrets"], competitors=[], min_score=0.0)["findings"]
    ]

    assert scores == [1.0, 0.5]


def test_a_token_whose_first_part_is_no_header_is_no_jwt() -> None:
    assert found("eyJhbGciOiJIUzI1NiJ.eyJzdWIiOiIxIn0." + "a1B2c" * 8) == []


def test_what_is_assigned_to_a_telling_name_is_judged_by_its_entropy() -> None:
    assert found("password = 'x9K!pQ2#vL7@tR4z'") == [("assigned_secret", "x9K!pQ2#vL7@tR4z")]
    assert found("api_key: aaaaaaaaaaaaaaaaaaaaaaaa") == []
    assert found("token=short") == []
    assert entropy("abcd") == 2.0


def test_a_key_behind_a_telling_name_is_reported_once() -> None:
    assert found(f"token={github()}") == [("github_token", github())]


def test_a_secret_with_invisible_characters_in_it_is_found_as_it_was_written() -> None:
    written = "\u200b".join(github())

    assert found(f"<{written}>") == [("github_token", written)]


# --- personal data ---


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ada@example.com", "email"),
        ("a.b+c_d@mail.example.co.uk", "email"),
        ("ada@müller.example", "email"),
        ("straße@example.com", "email"),
        ("пример@почта.рф", "email"),
        ("用户@例子.公司", "email"),
        ("ada@हिन्दी.भारत", "email"),
        ("a@b.c.d.e.f.g.h.i.j.k.l.mn", "email"),
        ("4111 1111 1111 1111", "card_number"),
        ("4111-1111-1111-1111", "card_number"),
        ("4111111111111111", "card_number"),
        ("5555555555554444", "card_number"),
        ("378282246310005", "card_number"),
        ("3782 822463 10005", "card_number"),
        ("6011111111111117", "card_number"),
        ("３７８２８２２４６３１０００５", "card_number"),
        ("٤١١١١١١١١١١١١١١١", "card_number"),
        ("4111.1111.1111.1111", "card_number"),
        ("4111\u00a01111\u00a01111\u00a01111", "card_number"),
        ("4111\u20111111\u20111111\u20111111", "card_number"),
        ("4111 – 1111 – 1111 – 1111", "card_number"),
        ("4111  1111\n1111\t1111", "card_number"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("GB82WEST12345698765432", "iban"),
        ("NO9386011117947", "iban"),
        ("de89370400440532013000", "iban"),
        ("DE89-3704-0044-0532-0130-00", "iban"),
        ("+49 30 901820", "phone"),
        ("+1 (650) 253-0000", "phone"),
        ("0044 20 7946 0958", "phone"),
        ("00 44 20 7946 0958", "phone"),
        ("(+49) 30 901820", "phone"),
        ("+49\u00a030\u2011901820", "phone"),
        ("+49  30\t901820", "phone"),
        ("+٤٩ ٣٠ ٩٠١٨٢٠", "phone"),
    ],
)
def test_personal_data_is_found_where_it_stands(text: str, kind: str) -> None:
    assert found(f"Write {text}, please") == [(kind, text)]


@pytest.mark.parametrize(
    "text",
    [
        "ada@example",
        "@example.com",
        "ada@",
        "a..b@example.com",
        "ada@-example.com",
        "ada@example.c0m1",
        "x" * 65 + "@example.com",
        "用" * 65 + "@example.com",
        "ada@example." + "x" * 64,
        "4111111111111112",
        "0000000000000000",
        "41111111111111111",
        "0.4111111111111111",
        "4111111111111111.5",
        "1234567890123",
        "DE89370400440532013001",
        "XX89370400440532013000",
        "DE893704004405320130001",
        "+49",
        "+1 23",
        "030 901820",
        "+999 123456789",
        "12.34.56.78",
        "2026-11-21T09:00:00",
    ],
)
def test_what_only_looks_like_it_is_not_personal_data(text: str) -> None:
    assert found(f"Write {text}, please") == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("order 1234 4111 1111 1111 1111", "4111 1111 1111 1111"),
        ("4111 1111 1111 1111 123", "4111 1111 1111 1111"),
        ("4111 1111 1111 1111 12/28", "4111 1111 1111 1111"),
        ("1.5,4111111111111111,1.5", "4111111111111111"),
        ("AB12 DE89 3704 0044 0532 0130 00 EUR", "DE89 3704 0044 0532 0130 00"),
        ("+1 23 0044 20 7946 0958", "0044 20 7946 0958"),
        ("(+49 30 901820)", "+49 30 901820"),
        ("+1 650 253 0000 24 hours", "+1 650 253 0000"),
        ("请写信给ada@example.com吧", "ada@example.com吧"),
        ("一封信 ada@example.com", "ada@example.com"),
    ],
)
def test_what_stands_beside_it_hides_nothing(text: str, part: str) -> None:
    assert [each for _, each in found(text)] == [part]


def test_only_so_many_are_tried_as_phone_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(personal, "MOST_PHONES", 2)

    assert found("+999 123456, +1 650 253 0000, +49 30 901820") == [("phone", "+1 650 253 0000")]


def test_one_wrong_digit_is_noticed() -> None:
    assert luhn("79927398713")
    assert not any(luhn(f"7992739871{digit}") for digit in "012456789")
    assert mod97("GB82WEST12345698765432")
    assert not mod97("GB82WEST12345698765423")


# --- hostile texts ---

PROSE = " ".join(
    "".join(random.Random(n).choices(string.ascii_lowercase, k=2 + n % 9)) for n in range(4000)
)  # the seed is the number

HOSTILE = {
    "one letter": "a",
    "blanks": " ",
    "digits": "1",
    "digits apart": "1 ",
    "cards": "4111 1111 1111 1111 ",
    "at": "@",
    "addresses": "a@a.",
    "dots": "a.",
    "plus": "+",
    "phones": "+49 151 12345678 ",
    "brackets": "+1(",
    "tokens": "eyJ",
    "token parts": "eyJaaaaaaaa.",
    "assignments": "token:",
    "assigned": "token=abcdefgh1234!ZYX",
    "headers": "-----BEGIN ",
    "keys": "-----BEGIN RSA PRIVATE KEY-----",
    "dashes": "-",
    "slack": "xoxb-1234567890-",
    "ibans": "DE89 3704 0044 0532 0130 00 ",
    "nothing seen": "\u200b",
    "disguised": "G\u200blobex ",
    "names": "globex ",
    "near names": "globxe ",
    "right to left": "\u202eשלום ",
    "ligatures": "\ufdfa",
    "accents": "a\u0301",
    "only accents": "\u0301",
    "zeros": "\x00",
    "han": "阿里巴巴",
    "emoji": "👩\u200d👩\u200d👧",
    "prose": PROSE,
    "marks": "\u0301\u0940",
    "hangul": "삼성전자는 ",
    "half a syllable": "\u1100",
    "pointed": "גְלוֹבֶּקס ",
    "signs": "&",
    "signs apart": "at & t ",
    "a gap": "AT" + " " * 1000,
    "groups": "4111 ",
}


def taken(unit: str, length: int, names: list[str], min_score: float) -> float:
    """Seconds of the processor for a text of so many characters, made of `unit`: the best of three."""
    text = (unit * (length // len(unit) + 1))[:length]
    best = 1e9
    for _ in range(3):
        began = time.process_time()
        scan(text, detect=DETECTORS, competitors=names, min_score=min_score)
        best = min(best, time.process_time() - began)
    return best


def is_linear(unit: str, length: int, names: list[str], min_score: float) -> bool:
    """
    Whether eight times the text takes about eight times as long; sixty-four times would be quadratic.

    A machine with much else to do may be slow just while the longer one is looked through, so there
    are some goes at it. What is quadratic is so each time.
    """
    for _ in range(5):
        short, long = (taken(unit, n, names, min_score) for n in (length, 8 * length))
        if long < 24 * short + 0.05:
            return True
    return False


@pytest.mark.parametrize("name", HOSTILE)
def test_the_time_grows_with_the_length_and_not_faster(name: str) -> None:
    assert is_linear(HOSTILE[name], 4_000, NAMES, 0.8)


LETTERS = string.ascii_lowercase
CROWDS = {
    "all alike": ("globey ", [f"globe{c}" for c in LETTERS] + [f"glob{c}x" for c in LETTERS]),
    "long ones": ("a ", [" ".join("a" * n + "b") for n in range(1, 49)]),
    "of short words": (PROSE, [f"{a}{b} {b}{a} {a}{a}" for a in LETTERS[:6] for b in LETTERS[:6]]),
}


@pytest.mark.parametrize("name", CROWDS)
def test_many_names_and_the_lowest_score_cost_linear_time_as_well(name: str) -> None:
    unit, names = CROWDS[name]

    assert is_linear(unit, 1_000, names, 0.0)


def test_what_is_hardly_alike_is_no_misspelling_whatever_is_asked_for() -> None:
    assert found("about glass", names=["Globex"], min_score=0.0) == []


def test_the_words_of_a_long_name_are_found_in_their_order() -> None:
    name = "The Bank of the Seven Hills and Rivers"

    assert found(f"at {name.lower()}.", names=[name]) == [("exact", name.lower())]
    assert found("at the bank of the seven rivers and hills", names=[name]) == []


def test_an_answer_holds_only_so_many_findings_and_says_so() -> None:
    said = scan("globex " * 2000, detect=["competitors"], competitors=["Globex"], min_score=0.8)

    assert (len(said["findings"]), said["truncated"]) == (MOST_FINDINGS, True)


def test_only_what_is_asked_for_is_looked_for() -> None:
    text = f"Globex ada@example.com {github()}"

    def kinds(*detect: str) -> list[Any]:
        said = scan(text, detect=detect, competitors=["Globex"], min_score=0.8)
        return [said["checked"], [each["kind"] for each in said["findings"]]]

    assert kinds("competitors") == [["competitors"], ["competitor"]]
    assert kinds("secrets", "personal_data") == [["secrets", "personal_data"], ["personal_data", "secret"]]


def test_look_alikes_are_lower_case_letters_of_other_scripts() -> None:
    for char in folded("аеорсухіјαορ").text:
        assert "LATIN" in unicodedata.name(char)
