"""The smallest service the proxy can stand in front of: plain sockets, counted effects."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar


class TinyService:
    """
    Answers GET with `BODY`, and POST the same with 201 and one more effect.

    `/empty` is answered with 204, `/short` with a body of one byte.
    """

    BODY: ClassVar[bytes] = b'{"things": ["one", "two", "three"]}'

    def __init__(self) -> None:
        self.effects = 0
        self.seen: list[tuple[str, str, bytes]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            def reply(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(service.BODY)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(service.BODY)

            def do_GET(self) -> None:
                service.seen.append((self.command, self.path, b""))
                if self.path == "/empty":
                    self.send_response(204)
                    self.end_headers()
                elif self.path == "/short":
                    self.send_response(200)
                    self.send_header("Content-Length", "1")
                    self.end_headers()
                    self.wfile.write(b"1")
                else:
                    self.reply(200)

            do_HEAD = do_GET

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                service.seen.append(("POST", self.path, body))
                service.effects += 1
                self.reply(201)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> TinyService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
