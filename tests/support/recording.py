"""An installation in memory that keeps what commands call, as policies describe it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ordering.aws.dynamodb import Send
from ordering_tools.installation import Installation
from support.aws.kms import MemoryKms
from support.policies import Access, table_accesses


class KnownKms(MemoryKms):
    """KMS in memory that knows by which key a data key was encrypted, as the service does."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[bytes, str] = {}

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        answer = super().__call__(operation, request)
        if operation == "GenerateDataKey":
            self.keys[answer["CiphertextBlob"]] = request["KeyId"]
        return answer


@dataclass
class Recording:
    """What was called."""

    kms: KnownKms
    accesses: set[Access] = field(default_factory=set)

    def tables(self, send: Send) -> Send:
        """The same connection to tables, recorded."""

        def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
            self.accesses.update(table_accesses(operation, request))
            return send(operation, request)

        return call

    def queue(self, name: str) -> Callable[[str, int], None]:
        """A queue that takes messages, recorded."""

        def send(body: str, delay_seconds: int) -> None:  # noqa: ARG001 - a queue's arguments
            self.accesses.add(Access("sqs:SendMessage", name))

        return send

    def call_kms(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """A call of KMS, recorded with the logical id of its key."""
        key = request["KeyId"] if "KeyId" in request else self.kms.keys[request["CiphertextBlob"]]
        self.accesses.add(Access(f"kms:{operation}", key.removeprefix("alias/").removeprefix("ordering-")))
        return self.kms(operation, request)

    def installation(self, send: Send) -> Installation:
        """A stack in AWS over these tables, whose calls are recorded."""
        return Installation(
            self.tables(send),
            self.call_kms,
            None,
            "https://issuer.example",
            "https://api.example",
            mail_queue=self.queue("MailQueue"),
            webhook_queue=self.queue("WebhookQueue"),
            caller="arn:aws:sts::123456789012:assumed-role/support/ann",
            account="123456789012",
        )
