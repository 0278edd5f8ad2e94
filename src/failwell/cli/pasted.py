"""
Pasted text -> the exchange it shows.

What people have in hand, in the order it is looked for:

1. a HAR file or one entry of it (`failwell.cli.har`);
2. an answer with its head, as `curl -i`, `curl -v`, both together, HTTPie and `wget -S` print it.
   In front may stand the command itself, the progress meter, the request, `100 Continue`, a
   proxy's `200 Connection established`, redirects: the last answer counts;
3. what curl says when no answer came: `curl: (7) Failed to connect ...`;
4. else the text is a body whose status is not known.

A body is bytes to the end: what a terminal added behind it (the next prompt, the meter, "left
intact") is cut off where the length is known, or where it is unmistakable.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from failwell.answer import Answer
from failwell.call.messages import Phase, Reason
from failwell.cli import tokens
from failwell.cli.exchange import INPUT_LIMIT, Exchange, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# "  0    33    0    33 ... --:--:-- --:--:--  8833", any number of times, each begun by CR.
_METER = re.compile(
    rb"[\r\n]? {0,3}\d{1,3} +[\d.]+[kMGTP]? +\d{1,3} +[\d.]+[kMGTP]? +\d{1,3} +[\d.]+[kMGTP]?"
    rb"(?: +[\d.]+[kMGTP]?){2}(?: +[\d:-]{5,12}|  *[\d.]+[dhms]){3} +[\d.]+[kMGTP]?"
)
_METER_HEAD = re.compile(rb"(?m)^ *(?:% Total +% Received|Dload +Upload).*\r*\n?")
_ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\))")

_HEAD = re.compile(rb"(?m)^([ \t]*)HTTP/(\d(?:\.\d)?)[ \t]+([1-9]\d\d)(?:[ \t]+([^\r\n]*))?\r*$")
_REQUEST = re.compile(rb"(?m)^([A-Z]{3,10}) +(\S+) +HTTP/\d(?:\.\d)?\r*$")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*(.*)")
_VERBOSE = re.compile(rb"(?m)^(?:< HTTP/\d|> [A-Z]{3,10} \S+ HTTP/\d)")
_DATA_NOISE = re.compile(rb"[{}] \[\d+ bytes data\]\r*\n?")
_LEFT_INTACT = re.compile(
    rb"(?:^|(?<=[^\n]))\* (?:Connection #\d+ |[Cc]losing connection|shutting down connection)"
    rb"[^\n]{0,300}\s*\Z"
)
_PROMPT = re.compile(rb"\n[^\n]{0,80}[$#%>] \Z")
_TOOL_ERROR = re.compile(rb"(?m)^.{0,400}?\bcurl: \((\d{1,3})\) ?([^\r\n]{0,500})")


def read(data: bytes) -> list[Exchange]:
    """
    The exchanges in `data`: one, or a HAR file's.

    Raises:
        UnreadableError: there is nothing in it that can be explained.
    """
    if len(data) > INPUT_LIMIT:
        raise UnreadableError(
            f"The input is larger than {INPUT_LIMIT // 2**20} MiB. Give me one answer, not a recording."
        )
    data = _as_utf8(data)
    if not data.strip():
        raise UnreadableError(
            "The input is empty. Pipe in the output of `curl -i`, or give me a file or a name."
        )
    if data.lstrip()[:1] == b"{":
        from failwell.cli import har

        entries = har.read(data)
        if entries is not None:
            return entries
    exchange = _with_head(data) or _of_tool(data) or _bare(data)
    exchange.secrets = list(tokens.ordered(exchange.secrets))
    return [exchange]


def _as_utf8(data: bytes) -> bytes:
    """`data` without a byte order mark; PowerShell redirects into UTF-16."""
    for mark, coding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            return data[2:].decode(coding, "replace").encode()
    return data.removeprefix(b"\xef\xbb\xbf")


# --- Answers with a head --------------------------------------------------------------------


def _with_head(data: bytes) -> Exchange | None:
    plain = _METER_HEAD.sub(b"", _METER.sub(b"", data)) if b"%" in data or b"--:--" in data else data
    asked, shown, said = b"", b"", plain
    if _VERBOSE.search(plain):
        asked, shown, said = _unwoven(plain)
    # `-v` and `-i` together show the head twice; the printed one has the body right behind it.
    text = said if _HEAD.search(said) or not shown else shown + said.lstrip(b"\r\n")
    heads = list(_heads(text))
    if not heads:
        return None
    head = _last_that_counts(heads)
    exchange = Exchange("curl output", head.status, head.fields, head.body)
    exchange.earlier = [h.status for h in heads if h is not head]
    _note_interim(exchange)
    before = text[: heads[0].start]
    _add_request(exchange, asked or before, encrypted=_is_encrypted(data))
    _add_command(exchange, before)
    for each in heads:
        exchange.secrets += tokens.in_headers(each.fields)
        exchange.secrets += tokens.in_url(each.fields.get("location", ""))
    _undo_transfer(exchange)
    _check_length(exchange)
    _undo_encoding(exchange)
    return exchange


class _Head:
    __slots__ = ("body", "end", "fields", "start", "status")

    def __init__(self, start: int, status: int, fields: dict[str, str], end: int) -> None:
        self.start = start
        self.status = status
        self.fields = fields
        self.end = end
        self.body = b""


def _heads(text: bytes) -> Iterator[_Head]:
    """Every answer's head in `text`, each with what follows it up to the next."""
    found: list[_Head] = []
    position = guard = 0
    while (line := _HEAD.search(text, position)) is not None:
        position = line.end()
        follows = bool(found) and not text[found[-1].end : line.start()].strip()
        if line.start() < guard and not follows:
            continue  # inside a body whose length is known: a dump of another answer
        fields, end = _fields(text, line.end(), indent=line[1])
        if not fields and found and not follows:
            continue
        found.append(_Head(line.start(), int(line[3]), fields, end))
        position = end
        length = fields.get("content-length", "")
        guard = end + int(length) if length.isdigit() and len(length) < 12 else end
    ends = [head.start for head in found[1:]] + [len(text)]
    for head, end in zip(found, ends, strict=False):
        head.body = text[head.end : end]
    return iter(found)


def _last_that_counts(heads: list[_Head]) -> _Head:
    return next((h for h in reversed(heads) if h.status >= 200), heads[-1])


def _fields(text: bytes, position: int, indent: bytes = b"") -> tuple[dict[str, str], int]:
    """The header fields from `position` on, and where the body begins."""
    pairs: list[tuple[str, str]] = []
    position = text.find(b"\n", position) + 1 or len(text)
    while position < len(text):
        end = text.find(b"\n", position) + 1 or len(text)
        line = _ANSI.sub(b"", text[position:end]).rstrip(b"\r\n").removeprefix(indent)
        if not line.strip():
            position = end
            break
        field = _FIELD.match(line)
        if field is not None:
            pairs.append((field[1].decode("latin-1"), _text(field[2]).strip()))
        elif line[:1] in b" \t" and pairs:
            pairs[-1] = (pairs[-1][0], f"{pairs[-1][1]} {_text(line).strip()}".strip())
        else:
            break  # no empty line: the body begins here, or the head was cut
        position = end
    return Answer(0, pairs).headers, position


def _unwoven(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The three streams that `curl -v` weaves into one: the requests, the answers, the output."""
    asked: list[bytes] = []
    shown: list[bytes] = []
    said: list[bytes] = []
    for line in re.findall(rb"[^\n]*\n|[^\n]+", data):  # not splitlines: a terminal writes CR CR LF
        mark = line[:2]
        if mark == b"> " or line.rstrip() == b">":
            asked.append(line[2:])
        elif mark == b"< " or line.rstrip() == b"<":
            if _HEAD.match(line[2:]):
                # What was put out before the last answer is another answer's body, or noise.
                said = [s for s in said if _HEAD.match(s)] and said
            shown.append(line[2:])
        elif mark == b"* " or _DATA_NOISE.fullmatch(line):
            continue
        else:
            said.append(_LEFT_INTACT.sub(b"", line))
    return b"".join(asked), b"".join(shown), b"".join(said)


def _is_encrypted(data: bytes) -> bool:
    return re.search(rb"(?m)^\* .*(?:SSL connection using|ALPN|TLSv1|port 443\b)", data) is not None


def _add_request(exchange: Exchange, text: bytes, *, encrypted: bool) -> None:
    """What a printed request head in `text` says; the last one counts."""
    lines = list(_REQUEST.finditer(text))
    if not lines:
        return
    line = lines[-1]
    fields: dict[str, str] = {}
    for each in lines:
        fields, _ = _fields(text, each.end())
        exchange.secrets += [*tokens.in_headers(fields), *tokens.in_url(_text(each[2]))]
    exchange.method, target = _text(line[1]), _text(line[2])
    host = fields.get("host", "")
    scheme = "https" if encrypted else "http"
    if "://" in target:
        exchange.url = target
    elif host:
        exchange.url = f"{scheme}://{host}{target}"
    exchange.key = fields.get("idempotency-key")


_TAKES_DATA = (
    "-d",
    "--data",
    "--data-raw",
    "--data-binary",
    "--data-urlencode",
    "--data-ascii",
    "--json",
    "-F",
    "--form",
)
_TAKES_VALUE = frozenset(
    {"-A", "-b", "-c", "-C", "-e", "-E", "-m", "-o", "-u", "-U", "-w", "-x", "--cacert", "--cert",
     "--connect-timeout", "--cookie", "--cookie-jar", "--key", "--max-time", "--oauth2-bearer",
     "--output", "--pass", "--proxy", "--proxy-user", "--referer",
     "--resolve", "--retry", "--user", "--user-agent", "--write-out"}
)  # fmt: skip
_SECRET_OPTIONS = frozenset(
    {"-u", "--user", "-b", "--cookie", "--oauth2-bearer", "--pass", "-U", "--proxy-user", "-E", "--cert"}
)


def _add_command(exchange: Exchange, text: bytes) -> None:
    """What a `curl ...` command typed in front says of the request, and which secrets it holds."""
    start = re.search(rb"(?m)(?:^|[$#%>;&|] ?)(curl(?:\.exe)? (?:[^\n\\]|\\\r*\n|\\.)*)", text[:65536])
    if start is None:
        return
    import shlex

    line = re.sub(r"\\\r*\n", " ", _text(start[1]))
    try:
        words = shlex.split(line)
    except ValueError:
        words = line.split()
    method, url, writes, key = None, None, False, None
    options = iter(words[1:])
    for word in options:
        name, _, attached = word.partition("=") if word.startswith("--") else (word, "", "")
        if name in ("-X", "--request"):
            method = attached or next(options, None)
        elif name.startswith("-X") and len(name) > 2:
            method = name[2:]
        elif name in ("-I", "--head"):
            method = method or "HEAD"
        elif name in ("-H", "--header"):
            field, _, value = (attached or next(options, "")).partition(":")
            exchange.secrets += tokens.in_headers({field.strip().lower(): value.strip()})
            key = value.strip() if field.strip().lower() == "idempotency-key" else key
        elif name in _TAKES_DATA or (name.startswith("-d") and not name.startswith("--")):
            writes = True
            if not attached and name in _TAKES_DATA:
                attached = next(options, "")
            exchange.secrets += secrets_in_data(attached)
        elif name in ("-T", "--upload-file"):
            method = method or "PUT"
            next(options, None)
        elif name in _TAKES_VALUE:
            value = attached or next(options, "")
            exchange.secrets += tokens.parts_of(value) if name in _SECRET_OPTIONS else []
            exchange.secrets += value.split(":") if name in _SECRET_OPTIONS else []
        elif name == "--url":
            url = attached or next(options, None)
        elif (
            not word.startswith("-") and url is None and re.match(r"https?://|[\w.-]+(?::\d+)?(?:/|$)", word)
        ):
            url = word
    if url is not None:
        exchange.secrets += tokens.in_url(url)
        exchange.url = exchange.url or (url if "://" in url else f"http://{url}")
    exchange.method = exchange.method or (method or ("POST" if writes else "GET")).upper()
    exchange.key = exchange.key or key


def secrets_in_data(data: str) -> list[str]:
    named = re.compile(
        r"(?i)[\"']?[\w.-]*(?:passw|secret|token|key|credential|auth)[\w.-]*[\"']?\s*[=:]\s*[\"']?([^&\"'\s,}]{6,500})"
    )
    return named.findall(data[:65536])


def _note_interim(exchange: Exchange) -> None:
    if exchange.status is not None and exchange.status < 200:
        exchange.notes.append(f"{exchange.status} is an interim answer; the final one is not in the input.")
        return
    redirects = sum(300 <= status < 400 for status in exchange.earlier)
    if redirects:
        exchange.notes.append(
            f"{redirects} redirect{'s' if redirects > 1 else ''} came before this answer: "
            "the method and the address it is about may have changed on the way."
        )


def _undo_transfer(exchange: Exchange) -> None:
    """Take a chunked body apart that its tool has left as it was (`curl --raw`, netcat)."""
    if "chunked" not in exchange.headers.get("transfer-encoding", "").lower():
        return
    if not re.match(rb"[0-9A-Fa-f]{1,8}[ \t]*(?:;[^\n]*)?\r?\n", exchange.body):
        return
    parts: list[bytes] = []
    position = 0
    while (
        line := re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\n]*)?\r?\n").match(exchange.body, position)
    ) is not None:
        size = int(line[1], 16)
        piece = exchange.body[line.end() : line.end() + size]
        parts.append(piece)
        position = line.end() + size
        position += 2 if exchange.body[position : position + 2] == b"\r\n" else 1
        if size == 0:
            exchange.body = b"".join(parts)
            return
    if sum(map(len, parts)) * 2 > len(exchange.body):
        exchange.body = b"".join(parts)
        exchange.notes.append("The chunked body ends before its end.")


def _check_length(exchange: Exchange) -> None:
    """Cut what the terminal put behind the body; note a body that is shorter than announced."""
    announced = exchange.headers.get("content-length", "")
    body = exchange.body
    if not announced.isdigit() or len(announced) > 12 or "transfer-encoding" in exchange.headers:
        exchange.body = _without_prompt(body)
        return
    size = int(announced)
    if len(body) > size:
        exchange.body = body[:size]
    elif body and len(body) + body.count(b"\n") < size and not exchange.headers.get("content-encoding"):
        # With an encoding the tool has undone, the two lengths are not comparable.
        exchange.notes.append(f"The body is cut short: {len(body)} of {size} bytes.")


def _without_prompt(body: bytes) -> bytes:
    """A JSON body without what follows it."""
    head = body.lstrip()
    if head[:1] not in (b"{", b"["):
        return _PROMPT.sub(b"", _LEFT_INTACT.sub(b"", body))
    try:
        text = head.decode("utf-8")
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return _LEFT_INTACT.sub(b"", body)
    return text[:end].encode()


def _undo_encoding(exchange: Exchange) -> None:
    coding = exchange.headers.get("content-encoding", "").lower().strip()
    body = exchange.body
    if not coding or coding == "identity" or not body:
        return
    if coding in ("gzip", "x-gzip", "deflate"):
        import zlib

        if body[:2] == b"\x1f\x8b" or (coding == "deflate" and not _is_text(body)):
            for bits in (47, -15):
                try:
                    exchange.body = zlib.decompressobj(bits).decompress(body, INPUT_LIMIT)
                    return
                except zlib.error:
                    continue
        elif _is_text(body):
            return
    elif _is_text(body):
        return  # `curl --compressed` has undone it
    exchange.body = b""
    exchange.notes.append(
        f"The body is compressed ({tokens.masked(coding)[:20]}) and was not read: use `curl --compressed`."
    )


# --- No answer ------------------------------------------------------------------------------

# curl's exit codes, man curl, EXIT CODES.
_CODES: dict[int, tuple[Phase, Reason]] = {
    1: (Phase.NOT_SENT, Reason.BAD_URL),
    3: (Phase.NOT_SENT, Reason.BAD_URL),
    5: (Phase.NOT_SENT, Reason.DNS),
    6: (Phase.NOT_SENT, Reason.DNS),
    7: (Phase.NOT_SENT, Reason.REFUSED),
    8: (Phase.SENT, Reason.NOT_HTTP),
    16: (Phase.SENT, Reason.RESET),
    18: (Phase.ANSWERED, Reason.CUT),
    28: (Phase.SENT, Reason.READ_TIMEOUT),
    35: (Phase.NOT_SENT, Reason.TLS),
    47: (Phase.SENT, Reason.FORMAT),
    51: (Phase.NOT_SENT, Reason.TLS_UNTRUSTED),
    52: (Phase.SENT, Reason.CLOSED),
    55: (Phase.SENT, Reason.RESET),
    56: (Phase.SENT, Reason.RESET),
    60: (Phase.NOT_SENT, Reason.TLS_UNTRUSTED),
    61: (Phase.ANSWERED, Reason.ENCODING),
    63: (Phase.ANSWERED, Reason.TOO_LARGE),
    77: (Phase.NOT_SENT, Reason.TLS),
    92: (Phase.SENT, Reason.RESET),
    95: (Phase.SENT, Reason.RESET),
    96: (Phase.SENT, Reason.RESET),
    97: (Phase.NOT_SENT, Reason.PROXY),
}


def _of_tool(data: bytes) -> Exchange | None:
    """What curl says when no answer came, or none that it would show."""
    every = list(_TOOL_ERROR.finditer(data[-65536:]))
    if not every:
        return None
    found = every[-1]
    code, text = int(found[1]), _text(found[2])
    exchange = Exchange("curl's own error", cause=f"curl: ({code}) {text}")
    returned = re.search(r"returned error: (\d{3})", text)
    asked, _, _ = _unwoven(data)
    _add_request(exchange, asked, encrypted=_is_encrypted(data))
    _add_command(exchange, data)
    if returned is not None:  # 22, from --fail
        exchange.status, exchange.cause = int(returned[1]), None
        exchange.notes.append(
            "curl was told to show nothing of a failed answer (--fail); without it there is more to read."
        )
        return exchange
    exchange.broken = _CODES.get(code)
    lowered = text.lower()
    if code == 28 and ("connect" in lowered or "resolving" in lowered) and "bytes received" not in lowered:
        exchange.broken = (Phase.NOT_SENT, Reason.CONNECT_TIMEOUT)
    elif code == 7 and "refused" not in lowered and "couldn't connect" not in lowered:
        exchange.broken = (Phase.NOT_SENT, Reason.UNREACHABLE)
    elif code == 56 and "proxy" in lowered:
        exchange.broken = (Phase.NOT_SENT, Reason.PROXY)
    if exchange.broken is None:
        raise UnreadableError(
            f"curl ended with its error {code}, which is not about an answer: {tokens.masked(text)[:200]}"
        )
    return exchange


# --- A bare body ----------------------------------------------------------------------------


def _bare(data: bytes) -> Exchange:
    if data[:2] == b"\x1f\x8b":
        import zlib

        try:
            data = zlib.decompressobj(47).decompress(data, INPUT_LIMIT)
        except zlib.error:
            raise UnreadableError("The input is compressed and damaged. Use `curl --compressed`.") from None
    if not _is_text(data):
        raise UnreadableError(
            "The input is not text. Give me the output of `curl -i` (with --compressed), a body, or a HAR."
        )
    body = _without_prompt(data) if data.lstrip()[:1] in (b"{", b"[") else data
    exchange = Exchange("a body without its head", None, {}, body)
    exchange.status = _status_inside(body)
    if exchange.status is None:
        exchange.notes.append("The input has no status: pass it with --status, or use `curl -i`.")
    else:
        exchange.notes.append(f"The status {exchange.status} is taken from the body; the input has no head.")
    return exchange


_STATUS_NAMES = ("status", "statusCode", "status_code", "httpStatus", "http_status", "httpStatusCode", "code")


def _status_inside(body: bytes) -> int | None:
    """The HTTP status that a JSON error body repeats."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for _ in range(3):
        if isinstance(value, list):
            value = value[0] if value else None
        if not isinstance(value, dict):
            return None
        for name in _STATUS_NAMES:
            status = _as_status(value.get(name))
            if status is not None:
                return status
        value = next(
            (
                value[n]
                for n in ("error", "errors", "fault", "meta")
                if isinstance(value.get(n), (dict, list))
            ),
            None,
        )
    return None


def _as_status(value: Any) -> int | None:
    if isinstance(value, str) and value.isdigit() and len(value) == 3:
        value = int(value)
    # Below 400 it is more likely an application's own number.
    return value if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599 else None


def _is_text(data: bytes) -> bool:
    sample = data[:65536]
    if b"\0" in sample:
        return False
    odd = sum(byte < 32 and byte not in b"\t\n\r\x0c\x1b" for byte in sample)
    undecoded = sample.decode("utf-8", "replace").count("\ufffd")
    return odd * 50 <= len(sample) and undecoded * 5 <= len(sample)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace").rstrip("\r")
