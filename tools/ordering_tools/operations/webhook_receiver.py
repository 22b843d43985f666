"""`ordering webhook listen`: a receiver for developers, which prints each event, and whether a secret verifies it.

It does what every receiver should: it verifies before it believes, and knows by the message's id what it has had.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

PORT = 8787
LARGEST_BODY = 2**20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--port", type=int, default=PORT, help="where to listen (default: %(default)s)")
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        help="what `webhook add` printed; once for each that may sign, while one replaces another",
    )
    parser.add_argument(
        "--answer", type=int, default=204, help="the status to answer with: 500 to see tries, 410 to be disabled"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Receive until Ctrl-C; returns the exit code."""
    try:
        listener = Listener(arguments.port, arguments.secret, arguments.answer)
    except (EmptyWebhookSecretError, ValueError):
        print("a secret is `whsec_` and base64", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"cannot listen at port {arguments.port}: {error}", file=sys.stderr)
        return 1
    with listener, suppress(KeyboardInterrupt):
        print(f"listening at {listener.url}", flush=True)
        listener.serve_forever()
    return 0


class Listener(ThreadingHTTPServer):
    """A receiver on this machine, at port 0 for any that is free.

    Raises:
        ValueError: A secret is none.
        OSError: The port is taken.
    """

    def __init__(self, port: int, secrets: Sequence[str], answer: int = 204) -> None:
        self.keys = [Webhook(secret) for secret in secrets]
        self.answer = answer
        self.seen: set[str] = set()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Where events are to be sent."""
        return f"http://127.0.0.1:{self.server_port}/"

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Print what came, and return the status to answer with."""
        fault = self._fault(headers, body)
        if fault:
            print(f"{datetime.now():%H:%M:%S}  refused: {fault}", flush=True)  # noqa: DTZ005 - for whoever sits here
            return 401
        told = [f"{datetime.now():%H:%M:%S}", *describe(body)]  # noqa: DTZ005 - as above
        told.append("verified" if self.keys else "not verified, for want of a --secret")
        name = headers.get("webhook-id", "")
        if name in self.seen:
            told.append("had before")
        self.seen.add(name)
        print("  ".join(told), flush=True)
        return self.answer

    def _fault(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """Say why nothing verifies a message; None if something does, or there is nothing to do it with."""
        fault = None
        for key in self.keys:
            try:
                key.verify(body, dict(headers), json_parse=False)
            except (WebhookVerificationError, ValueError) as error:
                fault = str(error)
            else:
                return None
        return fault


def describe(body: bytes) -> list[str]:
    """Say what a message is about."""
    try:
        event = json.loads(body)
        return [event["type"], f"order {event['data']['order']['id']}", f"sequence {event['sequence']}"]
    except (ValueError, TypeError, KeyError):
        return ["no event of an order"]


class _Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        if length > LARGEST_BODY:
            self.close_connection = True
            self._answer(413)
            return
        self._answer(
            self.server.receive({name.lower(): value for name, value in self.headers.items()}, self.rfile.read(length))
        )

    def log_message(self, *_: object) -> None:
        """Say nothing: what comes is printed already."""

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()
