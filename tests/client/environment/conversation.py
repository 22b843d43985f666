"""Make calls with the client for a test in another process: one call a line of standard input, one outcome a line.

A call is `{"token": …, "method": "orders.create", "arguments": […], "keywords": {…}}`. Its outcome has `answer`, the
last HTTP response, and either `result` or `raised`, the exception's name, with the exception's attributes.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Any

import basecrm
import requests

from client.environment.pacing import pace

ATTRIBUTES = ("http_status", "logref", "errors")


@cache
def client(token: str) -> Any:
    return basecrm.Client(access_token=token, base_url=os.environ["BASECRM_BASE_URL"])


def recording(request: Callable[..., Any], answers: list[dict[str, Any]]) -> Callable[..., Any]:
    """Wrap `requests.request` to keep the whole response, of which the client returns only a part."""

    def recorded(method: str, url: str, **options: Any) -> Any:
        answer = request(method, url, **options)
        answers.append({"status": answer.status_code, "headers": dict(answer.headers), "body": answer.text})
        return answer

    return recorded


def outcome(call: dict[str, Any]) -> dict[str, Any]:
    method = attrgetter(call["method"])(client(call["token"]))
    try:
        return {"result": method(*call["arguments"], **call["keywords"])}
    except (basecrm.RateLimitError, basecrm.RequestError, basecrm.ResourceError, basecrm.ServerError) as error:
        attributes = {name: getattr(error, name) for name in ATTRIBUTES if hasattr(error, name)}
        return {"raised": type(error).__name__, **attributes}


def main() -> None:
    answers: list[dict[str, Any]] = []
    requests.request = recording(requests.request, answers)
    pace()
    for line in sys.stdin:
        result = outcome(json.loads(line))
        print(json.dumps({**result, "answer": answers[-1]}), flush=True)  # noqa: T201 - this is the outcome
        answers.clear()


if __name__ == "__main__":
    main()
