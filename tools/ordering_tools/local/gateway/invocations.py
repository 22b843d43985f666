"""Lambda's Invoke for the functions of the local run, for other programs and for the engine's event source mappings.

Other programs call it as they call Lambda (`aws lambda invoke --endpoint-url …`):
https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html

The engine calls `/mappings/<function>` for each batch of a stream or a queue. It takes any status but 2xx as a failed
batch. It reads the failed messages that a function reports of a queue's batch, but not the failed records of a
stream's. So a batch of a stream with a reported failure fails as a whole here, and is delivered again as a whole.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ordering_tools.local.hosts import is_local_program, refusal
from ordering_tools.local.http import Answer, HttpRequest, HttpServer
from ordering_tools.local.runtime.functions import EventTooLargeError, FunctionError, RunEndedError

if TYPE_CHECKING:
    from ordering_tools.local.runtime.functions import Runner

_JSON = ("Content-Type", "application/json")
_STREAM = "aws:dynamodb"


class Invocations(HttpServer):
    """The server of Lambda's Invoke."""

    def __init__(
        self, listener: socket.socket, names: Mapping[str, str], runner: Runner, *, folded: bool = False
    ) -> None:
        """Serve the functions whose logical ids are the values of `names`; its keys are their names in the engine.

        `folded` counts the batches without a failure until `settle`, instead of printing a line about each.
        """
        super().__init__(listener)
        self.functions = {**names, **{name: name for name in names.values()}}
        self.runner = runner
        self._batches = 0
        self._ended = time.monotonic()
        self._folded: Counter[str] | None = Counter() if folded else None
        self._changed = threading.Condition()

    def answer(self, request: HttpRequest) -> Answer:
        """Call a function, with an event or a batch, as the request's path asks for."""
        host = request.header("Host")
        # A function believes the principal in its event, so a web page that reaches this could act as any partner.
        if not is_local_program(host, request.header("Origin")):
            return _refuse(421, "AccessDeniedException", refusal(host))
        match [request.method, *request.path.strip("/").split("/")]:
            case ["POST", "2015-03-31", "functions", name, "invocations"]:
                call = self._invoke
            case ["POST", "mappings", name]:
                call = self._deliver
            case _:
                return _refuse(404, "ResourceNotFoundException", "the local run supports only Invoke")
        function = self.functions.get(_function_name(unquote(name)))
        if function is None:
            return _refuse(404, "ResourceNotFoundException", f"Function not found: {unquote(name)}")
        return call(function, request)

    def _invoke(self, function: str, request: HttpRequest) -> Answer:
        if request.header("X-Amz-Invocation-Type") not in (None, "RequestResponse"):
            return _refuse(400, "InvalidParameterValueException", "the local run supports only RequestResponse")
        try:
            result = self.runner.invoke(function, request.body or b"null")
            return Answer(200, [_JSON, ("X-Amz-Executed-Version", "$LATEST")], result)
        except EventTooLargeError as error:
            return _refuse(413, error.kind, str(error))
        except FunctionError as error:
            report = {"errorType": error.kind, "errorMessage": str(error)}
            return Answer(200, [_JSON, ("X-Amz-Function-Error", "Unhandled")], json.dumps(report).encode())

    def _deliver(self, function: str, request: HttpRequest) -> Answer:
        try:
            return Answer(200, [_JSON], self.deliver(function, request.body))
        except FunctionError as error:
            return _refuse(500, error.kind, str(error))

    def deliver(self, function: str, event: bytes) -> bytes:
        """Call a function with a batch of the engine, and print a line about it; returns the function's result.

        An event of a schedule comes every minute: a line is printed only if the function fails.

        Raises:
            FunctionError: The function failed, or reported failed records of a stream.
        """
        with self._changed:
            self._batches += 1
        records = json.loads(event).get("Records", [])
        is_stream = any(record["eventSource"] == _STREAM for record in records)
        began, ending = time.monotonic(), ""
        try:
            result = self.runner.invoke(function, event)
            if failed := len((json.loads(result) or {}).get("batchItemFailures") or []):
                ending = f", failed {failed}"
        except FunctionError as error:
            reason = "not finished" if isinstance(error, RunEndedError) else f"failed: {error.kind}"
            ending = f", {reason}: {error}"
            raise
        finally:
            unit = "record" if is_stream else "message"
            count = f"{len(records)} {unit}{'s' if len(records) > 1 else ''}" if records else "schedule"
            with self._changed:
                self._ended = time.monotonic()
                if ending or (records and self._folded is None):
                    _print(f"{function} {count} {(self._ended - began) * 1000:.0f} ms{ending}")
                elif records and self._folded is not None:
                    self._folded[function] += 1
                self._batches -= 1
                self._changed.notify_all()
        if failed and is_stream:
            raise FunctionError("BatchItemFailures", "the function reported failed records")
        return result

    def settle(self, quiet: float, seconds: float) -> None:
        """Wait until no batch has been in flight for `quiet` seconds, at most `seconds`; then print the folded ones.

        From then on a line is printed about each batch.
        """
        began = time.monotonic()
        with self._changed:
            while (now := time.monotonic()) < began + seconds and (
                self._batches or now < max(began, self._ended) + quiet
            ):
                self._changed.wait(quiet / 10)
            folded, self._folded = self._folded, None
            if folded:
                batches = ", ".join(f"{function} {count} batches" for function, count in sorted(folded.items()))
                _print(f"done so far: {batches}")

    def drain(self, seconds: float) -> None:
        """Wait up to some seconds for the batches in flight."""
        with self._changed:
            self._changed.wait_for(lambda: not self._batches, seconds)


def _function_name(name: str) -> str:
    """The name of a function in its name or ARN. The version or alias behind it does not matter: there is one build."""
    named = name.partition(":function:")[2] or name
    return named.partition(":")[0]


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _refuse(status: int, kind: str, message: str) -> Answer:
    return Answer(status, [_JSON, ("X-Amzn-ErrorType", kind)], json.dumps({"message": message}).encode())
