"""DynamoDB that answers at once and always the same: recorded from the embedded engine, for ours and the references."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ordering_tools.local.http import Answer, HttpRequest, HttpServer

Signature = tuple[str, ...]
"""What makes two calls alike: the operation, the table and the partitions, and of a query the range."""

_KEPT_HEADERS = ("x-amz-crc32", "x-amzn-requestid", "content-type")
_UNKNOWN = b'{"__type": "com.amazon.coral.validate#ValidationException", "message": "the call was not recorded"}'


class RecordedTables(HttpServer):
    """Answers calls as the engine did when they were recorded. It keeps nothing that is written."""

    def __init__(self, engine: str) -> None:
        """Record, until `freeze`, what the engine at an endpoint answers."""
        super().__init__(socket.create_server(("127.0.0.1", 0)))
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.calls: Counter[str] = Counter()
        """Calls since the last `take`, by operation."""
        self.requests: list[tuple[str, dict[str, Any]]] = []
        """The calls while it records."""
        self.unknown: list[Signature] = []
        self._lock = threading.Lock()
        self._engine: str | None = engine.removeprefix("http://")
        self._answers: dict[Signature, Answer] = {}
        threading.Thread(target=self.serve_forever, name="recorded tables", daemon=True).start()

    def secured(self, certificate: Path, key: Path) -> str:
        """Answer over TLS as well; returns the endpoint for that."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        listener = socket.create_server(("127.0.0.1", 0))
        # Each connection's own thread shakes hands, at its first read.
        wrapped = context.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)
        secured = _Secured(self, wrapped)
        threading.Thread(target=secured.serve_forever, name="recorded tables, TLS", daemon=True).start()
        return f"https://localhost:{secured.server_address[1]}"

    def freeze(self) -> None:
        """Record no more; the engine may end."""
        self._engine = None

    def take(self) -> Mapping[str, int]:
        """Return the calls since the last time."""
        with self._lock:
            taken, self.calls = self.calls, Counter()
        return taken

    def answer(self, request: HttpRequest) -> Answer:
        """Answer a call; one that was not recorded is refused, and kept in `unknown`."""
        operation = (request.header("X-Amz-Target") or "").rpartition(".")[2]
        body = json.loads(request.body)
        signature = signature_of(operation, body)
        with self._lock:
            self.calls[operation] += 1
        if self._engine:
            self.requests.append((operation, body))
            self._answers.setdefault(signature, answer := _forward(self._engine, request))
            return answer
        if signature not in self._answers:
            self.unknown.append(signature)
            return Answer(400, [("Content-Type", "application/x-amz-json-1.0")], _UNKNOWN)
        return self._answers[signature]


class _Secured(HttpServer):
    def __init__(self, tables: RecordedTables, listener: socket.socket) -> None:
        super().__init__(listener)
        self._tables = tables

    def answer(self, request: HttpRequest) -> Answer:
        return self._tables.answer(request)


def signature_of(operation: str, body: Mapping[str, Any]) -> Signature:
    """Return what must be the same for two calls to have the same answer."""
    match operation:
        case "TransactWriteItems":
            return (operation,)
        case "BatchGetItem":
            ((table, wanted),) = body["RequestItems"].items()
            return (operation, table, *sorted(key["pk"]["S"] for key in wanted["Keys"]))
        case "Query":
            return (operation, body["TableName"], *sorted(_texts(body["ExpressionAttributeValues"])))
        case "UpdateItem":
            # Its sort key may be a time.
            return (operation, body["TableName"], body["Key"]["pk"]["S"])
        case "GetItem":
            return (operation, body["TableName"], *_texts(body["Key"]))
    return (operation, json.dumps(body, sort_keys=True))


def _texts(values: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    return (values[name]["S"] for name in sorted(values))


def _forward(engine: str, request: HttpRequest) -> Answer:
    connection = http.client.HTTPConnection(engine, timeout=30)
    kept = {name: value for name, value in request.headers if name.lower() not in {"host", "content-length"}}
    connection.request(request.method, request.path, request.body, kept)
    with connection.getresponse() as response:
        body = response.read()
        headers = [(name, value) for name in _KEPT_HEADERS if (value := response.getheader(name))]
        return Answer(response.status, headers, body)
