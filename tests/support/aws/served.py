"""AWS in memory over HTTP, for functions that run in processes of their own: tables, KMS, and what takes messages."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ordering.aws.dynamodb import Send, ServiceFault
from support.aws.kms import MemoryKms

_NAMESPACE = "com.amazonaws.dynamodb.v20120810"
_BLOBS = {"CiphertextBlob", "Plaintext"}
"""The fields of KMS that are base64 in JSON."""


@dataclass(frozen=True)
class ServedCall:
    """One call: its operation, the id of the key that signed it, the port of its connection, and its body."""

    operation: str
    signer: str
    port: int
    body: str


@dataclass
class Served:
    """An endpoint, and what it was asked for."""

    url: str
    calls: list[ServedCall] = field(default_factory=list)
    hang_up: bool = False
    """Whether the server closes each connection after its response, without saying so."""


@contextmanager
def served(send: Send) -> Iterator[Served]:
    """Serve an engine for one thread at a time, and other services of which the functions see no state."""
    lock, kms = threading.Lock(), MemoryKms()

    def respond(service: str, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        match service:
            case "TrentService":
                opened = {name: base64.b64decode(one) if name in _BLOBS else one for name, one in request.items()}
                return kms(operation, opened)
            case "AWSEvents":
                return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in request["Entries"]]}
            case "AmazonSQS":
                digest = hashlib.md5(request["MessageBody"].encode(), usedforsecurity=False).hexdigest()
                return {"MessageId": "1", "MD5OfMessageBody": digest}
        return send(operation, _decoded(request))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            service, _, operation = self.headers["X-Amz-Target"].partition(".")
            signer = self.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            endpoint.calls.append(ServedCall(operation, signer, self.client_address[1], text))
            try:
                with lock:
                    status, answer = 200, respond(service, operation, json.loads(text))
            except ServiceFault as fault:
                status, answer = 400, _error(fault)
            body = json.dumps(_encoded(answer)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = endpoint.hang_up

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    endpoint = Served(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield endpoint
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _error(fault: ServiceFault) -> dict[str, Any]:
    answer: dict[str, Any] = {"__type": f"{_NAMESPACE}#{fault.code}", "message": str(fault)}
    if fault.item:
        answer["Item"] = fault.item
    if fault.reasons:
        answer["CancellationReasons"] = list(fault.reasons)
    return answer


def _decoded(value: Any) -> Any:
    """A request with the bytes that are base64 in JSON."""
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if isinstance(value, dict):
        if value.keys() == {"B"} and isinstance(value["B"], str):
            return {"B": base64.b64decode(value["B"])}
        return {name: _decoded(one) for name, one in value.items()}
    return value


def _encoded(value: Any) -> Any:
    """An answer with base64 for bytes."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: _encoded(one) for name, one in value.items()}
    return [_encoded(one) for one in value] if isinstance(value, list | tuple | set | frozenset) else value
