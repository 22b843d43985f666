"""Make calls with the client for a test that runs elsewhere: one a line of standard input, its outcome on output.

A call is `{"token": …, "method": "orders.create", "arguments": […], "keywords": {…}}`. Its outcome has `answer`, the
last answer that came over HTTP, and either `result` or `raised`, the exception's name, with what the exception says.
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

SAYS = ("http_status", "logref", "errors")


@cache
def client(token: str) -> Any:
    return basecrm.Client(access_token=token, base_url=os.environ["BASECRM_BASE_URL"])


def noting(request: Callable[..., Any], answers: list[dict[str, Any]]) -> Callable[..., Any]:
    """Wrap `requests.request` to keep what the client is answered, of which it passes on only a part."""

    def noted(method: str, url: str, **options: Any) -> Any:
        answer = request(method, url, **options)
        answers.append({"status": answer.status_code, "headers": dict(answer.headers), "body": answer.text})
        return answer

    return noted


def outcome(call: dict[str, Any]) -> dict[str, Any]:
    method = attrgetter(call["method"])(client(call["token"]))
    try:
        return {"result": method(*call["arguments"], **call["keywords"])}
    except (basecrm.RateLimitError, basecrm.RequestError, basecrm.ResourceError, basecrm.ServerError) as error:
        said = {name: getattr(error, name) for name in SAYS if hasattr(error, name)}
        return {"raised": type(error).__name__, **said}


def main() -> None:
    answers: list[dict[str, Any]] = []
    requests.request = noting(requests.request, answers)
    pace()
    for line in sys.stdin:
        told = outcome(json.loads(line))
        print(json.dumps({**told, "answer": answers[-1]}), flush=True)  # noqa: T201 - this is the outcome
        answers.clear()


if __name__ == "__main__":
    main()
