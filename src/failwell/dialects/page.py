"""
The sentence in an HTML page or a plain text: what a person would read out of it.

A page has a heading and, beneath it, a sentence; the sentence is wanted. Scripts, styles and
comments are skipped, and text in no heading's neighbourhood is not an error's message.
"""

from __future__ import annotations

import re

from failwell.dialects.words import is_phrase, listed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# A page says what it has to say in its first part; the rest is pictures.
PAGE_LIMIT = 64 * 1024
MESSAGE_LIMIT = 500

_BLOCKS = frozenset(
    listed(
        """address article blockquote body center dd div dl dt fieldset footer form h1 h2 h3 h4 h5 h6 head
    header hr html li main nav ol p pre section table tbody td th title tr ul"""
    )
)
_HEADINGS = ("h1", "h2")
_SKIPPED = ("script", "style", "svg", "noscript", "template")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9]{0,15})")
_ID = re.compile(
    r"(?:request[ -]?id|ray id|incident(?: id| number)?|support id|(?:error )?reference(?: id| number)?"
    r"|transaction id|trace id|correlation id) ?[:#]{1,2} ?#? ?([\w.=:/+-]{8,100})",
    re.I,
)
_TEXT_CODE = re.compile(r"error code:?\s+([\w.-]{1,40})$", re.I)


def page_message(html: str) -> str | None:
    """
    What an HTML page says: what it labels as the message or its description, else the first
    sentence under its heading, else the heading, else the title.

    None if it has neither heading, title nor preformatted text.
    """
    title = heading = None
    sentence: str | None = None
    for tag, label, text in _texts(html[:PAGE_LIMIT]):
        if not text:
            continue
        if label in _TOLD:
            if not is_phrase(text):
                return text[:MESSAGE_LIMIT]
        elif label in _FACTS:
            continue
        elif tag == "title":
            title = title or text
        elif tag in _HEADINGS and heading is None:
            heading = text
        elif tag == "pre" or ((heading is not None or title is not None) and _is_sentence(tag, text)):
            sentence = text if sentence is None or is_phrase(sentence) else sentence
    found = sentence or heading or title
    return None if found is None else found[:MESSAGE_LIMIT]


# Labels in bold or in a table's head: of what the page says, and of facts beside it.
_TOLD = frozenset({"message", "description", "reason", "detail", "details", "error message"})
_FACTS = frozenset(
    """type|uri|url|path|status|status code|servlet|timestamp|date|time|server|host|caused by|exception
    |root cause|note|method|client ip|ip|code""".replace("\n    ", "").split("|")
)


def page_id(html: str) -> str | None:
    """The id that a page tells its reader to quote, such as "Request ID: 4F2A..."."""
    for _, _, text in _texts(html[:PAGE_LIMIT]):
        match = _ID.search(text[:2000])
        if match is not None:
            return match[1].rstrip(".")
    return None


def text_message(text: str) -> str | None:
    """
    What a plain text says: its first paragraph that is more than the name of the status.

    A paragraph longer than a message is cut to its first line.
    """
    first: str | None = None
    for paragraph in text[:PAGE_LIMIT].replace("\r", "").split("\n\n"):
        paragraph = paragraph.strip()
        if not paragraph:
            continue
        first = first or paragraph
        if not is_phrase(paragraph):
            first = paragraph
            break
    if first is None:
        return None
    if len(first) > MESSAGE_LIMIT:
        first = first.partition("\n")[0].strip()
    return first[:MESSAGE_LIMIT]


def text_code(text: str) -> str | None:
    """The code in a text such as "error code: 1015"."""
    match = _TEXT_CODE.match(text[:100].strip())
    return match[1] if match else None


def without_markup(text: str) -> str:
    """`text` without tags and with character references read."""
    return " ".join(part for _, _, part in _texts(text) if part)


def _is_sentence(tag: str, text: str) -> bool:
    """Whether `text` is prose rather than a server's signature or a link."""
    if tag in ("address", "footer", "nav", "li", "th", "form"):
        return False
    words = text.count(" ") + 1
    return words >= 3 or (tag == "p" and words >= 2)


def _texts(html: str) -> Iterator[tuple[str, str, str]]:
    """The texts of a page, in order, with the block they stand in and their label; one pass."""
    from html import unescape

    block, label = "", ""
    parts: list[str] = []
    position, length = 0, len(html)
    while position < length:
        start = html.find("<", position)
        if start < 0:
            parts.append(html[position:])
            break
        parts.append(html[position:start])
        if html.startswith("<!--", start):
            end = html.find("-->", start)
            position = length if end < 0 else end + 3
            continue
        match = _TAG.match(html, start)
        if match is None and not html.startswith(("<!", "<?"), start):
            parts.append("<")
            position = start + 1
            continue
        end = html.find(">", start)
        position = length if end < 0 else end + 1
        if match is None:
            continue
        closing, name = match[1], match[2].lower()
        if name in _SKIPPED and not closing:
            position = _after(html, name, position)
        elif name == "br":
            parts.append(" ")
        elif name in ("b", "strong") and closing:
            label = _label(unescape("".join(parts)))
            if label in _TOLD:
                parts = []
        elif name in _BLOCKS:
            text = _tidy(unescape("".join(parts)))
            yield block, label, text
            # The head of a table's row, or of a definition, labels what comes next.
            if block in ("th", "dt"):
                label = _label(text)
            elif text or name not in ("td", "dd"):
                label = ""
            block, parts = "" if closing else name, []
    yield block, label, _tidy(unescape("".join(parts)))


def _label(text: str) -> str:
    return " ".join(text[:60].split()).rstrip(":").lower()


def _after(html: str, name: str, position: int) -> int:
    """Where the element `name` that begins before `position` ends."""
    for spelled in (f"</{name}", f"</{name.upper()}"):
        found = html.find(spelled, position)
        if found >= 0:
            end = html.find(">", found)
            return len(html) if end < 0 else end + 1
    return len(html)


def _tidy(text: str) -> str:
    return " ".join(text.split())
