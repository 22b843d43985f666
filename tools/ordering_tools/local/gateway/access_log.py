"""The access log of the stage: a line for each request in the format of the template, as API Gateway writes it.

https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html
A variable without a value is `-`. The id by which Lambda knows the invocation is not known here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ordering_tools.local.gateway.responses import ContextTemplate

if TYPE_CHECKING:
    from pathlib import Path

    from ordering_tools.local.gateway.events import GatewayRequest
    from ordering_tools.local.http import Answer

_NO_VALUE = "-"


class AccessLog:
    """Appends lines to the log that the functions write to.

    Args:
        format_: The stage's format; None if it has no access log.
    """

    def __init__(self, format_: str | None, log: Path) -> None:
        self._template = ContextTemplate(format_) if format_ else None
        self._log = log

    def write(self, request: GatewayRequest, answer: Answer) -> None:
        """Append the line of a request that was answered just now."""
        if self._template is None:
            return
        milliseconds = max(round((time.time() - request.time) * 1000), 0)
        answered = {"status": answer.status, "responseLatency": milliseconds, "responseLength": len(answer.body)}
        line = self._template.fill({**request.context, **{name: str(one) for name, one in answered.items()}}, _NO_VALUE)
        # In one call, so that lines of processes that append at the same time stay whole.
        with self._log.open("ab", buffering=0) as file:
            file.write(line.encode() + b"\n")
