"""`ordering webhook listen`: a receiver for developers, which prints each event and whether its signature is valid.

It does what every receiver should: it verifies a message before it reads it, and recognizes duplicates by their id.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import click
from standardwebhooks.webhooks import EmptyWebhookSecretError, Webhook, WebhookVerificationError

from ordering_tools.installation import NotDone
from ordering_tools.local.engine.state import keep_received
from ordering_tools.local.http import Answer, HttpRequest, HttpServer
from ordering_tools.operations import commands
from ordering_tools.operations.commands import Command, Run, pass_run

DEFAULT_PORT = 8787
LARGEST_MESSAGE = 2**20


@click.command(cls=Command)
@click.option(
    "--port",
    type=commands.PORT,
    default=DEFAULT_PORT,
    show_default=True,
    help="The port to listen on; 0 takes any.",
)
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    help="The secret that `webhook add` printed; repeatable, while a new one replaces an old one.",
)
@click.option(
    "--answer",
    type=click.IntRange(200, 599),
    default=204,
    show_default=True,
    help="The status of responses: 500 to see retries, 410 to get disabled.",
)
@pass_run
def listen(run: Run, port: int, secrets: Sequence[str], answer: int) -> None:
    """Receive and print events on this machine."""
    try:
        listener = Listener(port, secrets, answer, run.state)
    except (EmptyWebhookSecretError, ValueError):
        raise NotDone("a secret is `whsec_` followed by base64") from None
    except OSError as error:
        raise NotDone(f"cannot listen on port {port}: {error}; choose another one with --port") from None
    with listener, suppress(KeyboardInterrupt):
        print(f"listening at {listener.url}", flush=True)
        listener.serve_forever()


class Listener(HttpServer):
    """A receiver on this machine; port 0 takes any free port.

    Raises:
        ValueError: A secret is malformed.
        OSError: The port is taken.
    """

    def __init__(self, port: int, secrets: Sequence[str], answer: int = 204, state: Path | None = None) -> None:
        """Listen; messages are kept for the local run's page if `state`, the folder of a local run, is there."""
        self.keys = [Webhook(secret) for secret in secrets]
        self.status = answer
        self.state = state
        self.seen: set[str] = set()
        super().__init__(socket.create_server(("127.0.0.1", port)))

    @property
    def url(self) -> str:
        """The URL to register as a webhook."""
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def answer(self, request: HttpRequest) -> Answer:
        """Respond to a message."""
        if request.method != "POST":
            return Answer(405, [("Allow", "POST")])
        if len(request.body) > LARGEST_MESSAGE:
            return Answer(413)
        return Answer(self.receive({name.lower(): value for name, value in request.headers}, request.body))

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Print a message, keep it, and return the status of the response."""
        fault = self._fault(headers, body)
        words = [f"refused: {fault}"] if fault else self._words(headers.get("webhook-id", ""), body)
        now = datetime.now()  # noqa: DTZ005 - local time, for the person at the terminal
        line = "  ".join([f"{now:%H:%M:%S}", *words])
        print(line, flush=True)
        if self.state:
            keep_received(self.state, {"key": now.isoformat(), "line": line, "body": body.decode("utf-8", "replace")})
        return 401 if fault else self.status

    def _words(self, message_id: str, body: bytes) -> list[str]:
        words = [*describe(body), "verified" if self.keys else "not verified (no --secret)"]
        if message_id in self.seen:
            words.append("duplicate")
        self.seen.add(message_id)
        return words

    def _fault(self, headers: Mapping[str, str], body: bytes) -> str | None:
        """The reason why no secret verifies a message; None if one does, or if there is no secret."""
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
    """Describe a message: its type, its order and its sequence number."""
    try:
        event = json.loads(body)
        return [event["type"], f"order {event['data']['order']['id']}", f"sequence {event['sequence']}"]
    except (ValueError, TypeError, KeyError):
        return ["not an order event"]
