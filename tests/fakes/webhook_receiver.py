"""A receiver of webhooks: a small HTTP server that checks each signature as a customer's would and keeps what came."""

import json
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from standardwebhooks import Webhook


@dataclass(frozen=True, slots=True)
class Received:
    """One request, with what its body says."""

    webhook_id: str
    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        document: dict[str, Any] = json.loads(self.body)
        return document

    def verify(self, secret: str) -> Any:
        """Checks the signature; raises when it isn't the secret's."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """Keeps every request, in the order of arrival; `answers` are given first, then 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: deque[tuple[int, dict[str, str]]] = deque()
        self.padding_bytes = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.received.append(Received(headers.get("webhook-id", ""), self.path, body, headers))
                status, extra = receiver.answers.popleft() if receiver.answers else (200, {})
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(bytes(receiver.padding_bytes))

            def log_message(self, *_: object) -> None:
                """Says nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return self.server.server_port

    @property
    def url(self) -> str:
        """An address of its own."""
        return f"http://127.0.0.1:{self.port}/hooks"

    def close(self) -> None:
        """Ends the server."""
        self.server.shutdown()
        self.server.server_close()

    def types(self) -> list[str]:
        """Returns the types of what came, in the order of the events' ids."""
        return [each["type"] for each in sorted((r.document for r in self.received), key=_place)]


def _place(document: dict[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, document["data"].get("event_id", "0").split("-")))
