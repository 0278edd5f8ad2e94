"""
The text of documents, in passages: of PDF files by pypdf, of all others as it stands.

Only the process of a job imports this: it needs pypdf.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from failwell_sandbox.child_work import Say, TaskError

# What is read of a document.
MOST_BYTES = 128 * 1024 * 1024
MOST_PAGES = 2000
MOST_CHARACTERS = 8_000_000

# A passage has about as many characters: some sentences.
PASSAGE = 400

# Where a passage may end: behind a sentence or a line.
_END = re.compile(r"(?<=[.!?])\s+|\n\s*")


def read_all(task: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Read documents one after the other, each told by itself."""
    for file in task["files"]:
        try:
            said = read(Path(file["path"]), file["type"])
        except (TaskError, FileNotFoundError) as exc:
            said = {"error": str(exc)}
        say({"file": file["id"], **said})
    return {}


def read(path: Path, content_type: str) -> dict[str, Any]:
    """
    What a document says: `passages`, and in `found` how much that is.

    Raises:
        TaskError: it cannot be read.
        FileNotFoundError: there is no such file.
    """
    if path.stat().st_size > MOST_BYTES:
        raise TaskError("too_large", f"The document is larger than {MOST_BYTES} bytes.")
    pages: list[tuple[int | None, str]] = (
        list(_pdf_pages(path)) if content_type == "application/pdf" else [(None, _text(path))]
    )
    characters = sum(len(text) for _, text in pages)
    if not any(text.strip() for _, text in pages):
        raise TaskError("no_text", "There is no text in this document.")
    passages = [[page, start, text] for page, whole in pages for start, text in passages_of(whole)]
    found = {
        "pages": len(pages) if pages[0][0] is not None else None, "characters": characters,
        "passages": len(passages),
    }  # fmt: skip
    return {"found": found, "passages": passages}


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise TaskError("not_text", "This is no text in UTF-8.") from exc
    if "\0" in text:
        raise TaskError("not_text", "This is no text: it has zero bytes.")
    if len(text) > MOST_CHARACTERS:
        raise TaskError("too_large", f"The text has more than {MOST_CHARACTERS} characters.")
    return text


def _pdf_pages(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with PdfReader(path) as reader:
            if reader.is_encrypted:
                raise TaskError("encrypted", "The document is encrypted.")
            if len(reader.pages) > MOST_PAGES:
                raise TaskError("too_large", f"The document has more than {MOST_PAGES} pages.")
            left = MOST_CHARACTERS
            for number, page in enumerate(reader.pages, start=1):
                text = page.extract_text().replace("\0", "")
                left -= len(text)
                if left < 0:
                    raise TaskError("too_large", f"The text has more than {MOST_CHARACTERS} characters.")
                # A half of a surrogate pair is in no text that can be sent.
                yield number, text.encode("utf-8", "replace").decode("utf-8")
    except (TaskError, FileNotFoundError):
        raise
    except PyPdfError as exc:
        raise TaskError("not_a_pdf", "This is no PDF that can be read.") from exc
    except MemoryError:
        raise
    except Exception as exc:  # a parser fails in as many ways as there are files
        raise TaskError("not_a_pdf", "This PDF is broken.") from exc


def passages_of(text: str) -> Iterator[tuple[int, str]]:
    """
    The passages of a text, each with where it begins: some sentences, never more than twice `PASSAGE`.

    What is between them is white space.
    """
    start = 0
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        end = _end_of(text, start)
        passage = text[start:end].rstrip()
        yield start, passage
        start = end


def _end_of(text: str, start: int) -> int:
    """Where the passage that begins at `start` ends."""
    most = min(len(text), start + 2 * PASSAGE)
    end = start
    for found in _END.finditer(text, start, most):
        if found.end() - start > PASSAGE and end > start:
            return end
        end = found.end()
    if most == len(text) and most - start <= PASSAGE:
        return most
    if end > start:
        return end
    if most == len(text):
        return most
    # One sentence that is longer: it ends at a word.
    space = text.rfind(" ", start + PASSAGE, most)
    return space if space > start else most
