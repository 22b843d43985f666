"""What schemathesis makes of the document, sent to the real stack: each response is one that the document has.

Its phases are the document's examples, the limits of each schema, random requests, and chains of calls. Each failure
that is accepted has its reason in `ACCEPTED`.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from ordering_tools.installation import ROOT
from support.real_stack import RealStack

pytestmark = pytest.mark.gateway

SCHEMATHESIS = ROOT / ".venvs" / "fuzz" / "bin" / "schemathesis"
DOCUMENT = ROOT / "docs" / "openapi.json"
REJECTED = "positive_data_acceptance"

ACCEPTED = {
    "API Gateway does not have these methods: it answers as for a path that does not exist.": (
        "unsupported_method",
        r"(TRACE|QUERY) 404 ",
    ),
    "Below /v2, a method that a path does not have is 404, as the document says.": (
        "unsupported_method",
        r"[A-Z]+ 404 .*was not found using the HTTP method",
    ),
    "The key of an earlier request is sent with another body.": (REJECTED, r"POST 422 .*idempotency[-_]key[-_]reused"),
    "ETags are made up, so they are those of no version.": (REJECTED, r"(PUT|PATCH|POST|DELETE) 412 "),
    "A header field of spaces arrives empty, because HTTP strips it.": (
        REJECTED,
        r"\w+ 400 .*If-Match.*Must be the ETag",
    ),
    "Ids are made up, so they are not in the catalogue.": (
        REJECTED,
        r"POST 400 .*catalogue does not contain",
    ),
    "Ids of products are made up, so the account does not have them.": (
        REJECTED,
        r"POST 422 .*no active product with this",
    ),
    "Names of face values are made up, so the card does not have them.": (
        REJECTED,
        r"POST 400 .*no face value with this",
    ),
    "Each product has its own currencies, discount and markup.": (
        REJECTED,
        r"POST 422 .*The product (has no price in|allows a (discount|markup) of)",
    ),
    "A schema cannot say that each currency is in one price only.": (
        REJECTED,
        r"(POST|PUT) 422 .*only one price per currency",
    ),
    "The example's deal has an order since it was sent first.": (REJECTED, r"POST 422 .*already_exists"),
    "Names of hosts are made up; a webhook's must be public.": (REJECTED, r"(POST|PATCH) 400 .*The URL must "),
}
"""The failures that are the tool's own: why, the check, and the beginning of method, status and body."""


@dataclass(frozen=True)
class Failure:
    """A check of the tool that failed."""

    check: str
    request: str
    """Method, address and body."""
    response: str
    """The request's method, the status and the body."""
    message: str

    @property
    def accepted(self) -> bool:
        """Whether it is the tool's own."""
        return any(check == self.check and re.match(shape, self.response) for check, shape in ACCEPTED.values())


def text(body: dict[str, Any] | None) -> str:
    """Return a body of the report as text."""
    return base64.b64decode(body["$base64"]).decode(errors="replace") if body else ""


def failures(report: Path) -> Iterator[Failure]:
    """Yield the failures in a report of events."""
    for line in report.read_text().splitlines():
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        for case, checks in recorder.get("checks", {}).items():
            sent, received = (recorder["interactions"][case][part] for part in ("request", "response"))
            for one in checks:
                if one["status"] == "failure":
                    yield Failure(
                        one["name"],
                        f"{sent['method']} {sent['uri']} {text(sent.get('body'))}",
                        f"{sent['method']} {received['status_code']} {text(received.get('content'))}",
                        one["failure_info"]["failure"]["message"],
                    )


def token(real: RealStack, contract: str) -> str:
    """Return a token for a contract."""
    demo = real.demo_file
    if contract != "ecards":
        return str(demo["tokens"][contract])
    client = demo["clients"]["ecards"]
    form = {
        "grant_type": "client_credentials",
        "client_id": client["clientId"],
        "client_secret": client["clientSecret"],
    }
    answer = httpx.post(f"{real.stack.base_url}/connect/token", data=form)
    return str(answer.json()["access_token"])


@pytest.mark.parametrize(
    ("contract", "paths", "options"),
    [
        ("trainingSingleUnit", "^/api/v2/", ("--max-examples", "25")),
        ("trainingSingleUnit", "^/webhooks", ("--max-examples", "25")),
        ("ecards", r"^/(v1|connect|\.well-known)/", ("--max-examples", "25")),
        ("deals", "^/v2/", ("--max-examples", "5", "--rate-limit", "9/s")),  # the authorizer refuses more than 10
    ],
    ids=["training", "webhooks", "ecards", "deals"],
)
def test_responses_are_documented(
    real: RealStack, tmp_path: Path, contract: str, paths: str, options: tuple[str, ...]
) -> None:
    """No server error, no undocumented response, no valid request refused, and no invalid one accepted."""
    report = tmp_path / "events.ndjson"
    command: list[str | Path] = [
        *(SCHEMATHESIS, "run", DOCUMENT, "--url", real.stack.base_url, "--include-path-regex", paths),
        *("--header", f"Authorization: Bearer {token(real, contract)}", *options),
        *("--continue-on-failure", "--warnings", "off", "--no-color", "--report", "ndjson"),
        *("--report-ndjson-path", report),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode in {0, 1}, done.stdout + done.stderr
    assert "Errors:" not in done.stdout, done.stdout
    wrong = [one for one in failures(report) if not one.accepted]
    assert not wrong, "\n".join(map(str, wrong))
