"""Whatever is uploaded as an image, a document or a question is taken or refused, and breaks nothing."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictograph_caller import png, png_of
from scopix_caller import movie, pdf

from failwell_sandbox.child_work import TaskError
from failwell_sandbox.scopix.kinds_of_file import kind_by_content, kind_by_name
from failwell_sandbox.scopix.quotes import answer_to, text_of
from failwell_sandbox.scopix.search import MOST_WORDS, Passage, Search, asked_for

# What a document may say, and what is hard to quote.
TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=3000)
WORDS = st.lists(
    st.sampled_from(["owl", "Owl. ", "a" * 900, "\n\n", "! ", "\r\n", " ", "\u2028", "Käuze? "]), max_size=60
)


def patient(examples: int) -> settings:
    """So many examples, however slow the machine makes them."""
    return settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


# --- documents ---


@patient(150)
@given(TEXT | WORDS.map("".join))
def test_a_text_is_in_its_passages_but_for_what_is_blank(text: str) -> None:
    documents = pytest.importorskip("failwell_sandbox.scopix.documents", reason="needs the extra `scopix`")
    end = 0
    for start, passage in documents.passages_of(text):
        assert text[end:start].strip() == "", "nothing is left out, and nothing is said twice"
        assert text[start : start + len(passage)] == passage
        assert 0 < len(passage) <= 2 * documents.PASSAGE
        assert passage.strip() == passage
        end = start + len(passage)
    assert text[end:].strip() == ""


@patient(150)
@given(st.sampled_from([b"", b"%PDF-1.4\n", pdf("Owls hunt.")[:300]]), st.binary(max_size=400), st.booleans())
def test_any_bytes_are_a_document_or_none(folder: Path, start: bytes, rest: bytes, is_pdf: bool) -> None:
    documents = pytest.importorskip("failwell_sandbox.scopix.documents", reason="needs the extra `scopix`")
    path = folder / "document"
    path.write_bytes(start + rest)
    with suppress(TaskError):
        said = documents.read(path, "application/pdf" if is_pdf else "text/plain")
        assert json.loads(json.dumps(said)) == said
        assert said["passages"]


def test_a_pdf_that_is_encrypted_or_has_no_text_is_told_so(folder: Path) -> None:
    documents = pytest.importorskip("failwell_sandbox.scopix.documents", reason="needs the extra `scopix`")
    pypdf = pytest.importorskip("pypdf", reason="needs the extra `scopix`")
    locked = io.BytesIO()
    with pypdf.PdfWriter() as writer:
        writer.append(io.BytesIO(pdf("A secret.")))
        writer.encrypt("password", algorithm="RC4-128")
        writer.write(locked)
    for data, code in ((locked.getvalue(), "encrypted"), (pdf(""), "no_text"), (pdf(), "no_text")):
        (folder / "paper.pdf").write_bytes(data)
        with pytest.raises(TaskError) as refused:
            documents.read(folder / "paper.pdf", "application/pdf")
        assert refused.value.code == code


# --- images ---


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (png_of(8001, 8001, b"\0" * 100), "too_large"),
        (png_of(100_000, 100_000, b"\0" * 100), "too_large"),
        (png_of(90, 60, b"\0" * 100), "not_an_image"),
        (b"\xff\xd8\xff\xe0", "not_an_image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (b"", "not_an_image"),
    ],
)
def test_what_is_no_image_or_a_bomb_is_not_decoded(folder: Path, data: bytes, code: str) -> None:
    pictures = pytest.importorskip("failwell_sandbox.scopix.pictures", reason="needs the extra `scopix`")
    (folder / "image").write_bytes(data)
    with pytest.raises(TaskError) as refused:
        pictures.describe(folder / "image")
    assert refused.value.code == code


@patient(150)
@given(st.binary(max_size=200), st.integers(0, 120), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP"]))
def test_an_image_with_any_bytes_in_it_is_described_or_none(
    folder: Path, middle: bytes, at: int, kind: str
) -> None:
    pictures = pytest.importorskip("failwell_sandbox.scopix.pictures", reason="needs the extra `scopix`")
    image = pytest.importorskip("PIL.Image", reason="needs the extra `scopix`")
    out = io.BytesIO()
    image.new("RGB", (20, 10), "blue").save(out, kind)
    whole = out.getvalue()
    (folder / "image").write_bytes(whole[:at] + middle + whole[at + len(middle) :])
    with suppress(TaskError):
        said = pictures.describe(folder / "image")
        assert json.loads(json.dumps(said, allow_nan=False)) == said


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK", "I;16", "LA"])
def test_every_mode_of_an_image_is_described(folder: Path, mode: str) -> None:
    pictures = pytest.importorskip("failwell_sandbox.scopix.pictures", reason="needs the extra `scopix`")
    image = pytest.importorskip("PIL.Image", reason="needs the extra `scopix`")
    kind = "TIFF" if mode in ("CMYK", "I;16") else "PNG"
    image.new(mode, (6, 9)).save(folder / "image", kind)
    found = pictures.describe(folder / "image")

    assert (found["width"], found["height"], found["orientation"]) == (6, 9, "portrait")
    assert sum(each["share"] for each in found["dominant_colours"]) == pytest.approx(1.0)
    assert found["sharpness"] == 0.0, "there is no edge in it"


# --- videos ---


@pytest.mark.parametrize("cut", [0, 20, 200, -200, -1])
def test_a_video_that_is_cut_is_analysed_as_far_as_it_goes_or_refused(folder: Path, cut: int) -> None:
    scenes = pytest.importorskip("failwell_sandbox.scopix.scenes", reason="needs the extra `scopix`")
    path = folder / "cut.mp4"
    path.write_bytes(movie(("red", "blue"), frames=5)[:cut])
    told: list[Any] = []
    with suppress(TaskError):
        found = scenes.analyse({"path": str(path)}, told.append)
        assert found["frames"] <= 10


# --- questions ---


@patient(60)
@given(TEXT | st.text(alphabet="\"'()*:^+-{}ANDORNEAR_ \0\ud800", max_size=60))
def test_any_question_can_be_asked(folder: Path, question: str) -> None:
    search = Search(folder / "any.db")
    search.replace("acme", "doc_1", [Passage(None, 0, "Owls hunt mice."), Passage(3, 7, "Foxes.")])

    for hit in search.find("acme", question, None, 5):
        assert hit.file_id == "doc_1"
    assert search.find("globex", question, None, 5) == []
    assert search.find("acme", question, ["doc_2"], 5) == []
    assert len(asked_for(question)) <= MOST_WORDS
    search.forget(["doc_1"])
    assert search.find("acme", "owls", None, 5) == []


@patient(100)
@given(TEXT)
def test_an_answer_is_the_sum_of_its_parts(question: str) -> None:
    parts = answer_to(question, [], {})

    assert text_of(parts).startswith("Nothing in your files matches")
    assert all(isinstance(part, str) and part for part in parts)


# --- names and hosts ---


@patient(150)
@given(st.text(max_size=30), st.binary(max_size=60))
def test_any_file_is_of_some_kind_or_none(name: str, start: bytes) -> None:
    for found in (kind_by_name(name), kind_by_content(start, whole=True)):
        assert found is None or (found[0] in ("image", "document", "video") and "/" in found[1])
    assert kind_by_name("A.PNG") == ("image", "image/png")
    assert kind_by_content(png(), whole=True) == ("image", "image/png")


STAY = """
import socket, sys
from failwell_sandbox.scopix.clouds import _stay_here
_stay_here(frozenset())
for connect in (
    lambda: socket.create_connection(("192.0.2.1", 80), 0.1),
    lambda: socket.getaddrinfo("storage.example", 80),
    lambda: socket.socket().connect(("169.254.169.254", 80)),
):
    try:
        connect()
    except PermissionError as exc:
        print(exc)
with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()
print("here")
"""


def test_a_process_that_copies_reaches_no_other_machine() -> None:
    pytest.importorskip("fsspec", reason="needs the extra `scopix`")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STAY], capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == [
        "192.0.2.1 is not on this machine",
        "storage.example is not on this machine",
        "169.254.169.254 is not on this machine",
        "here",
    ]
