"""`ordering dev pictures`: the pictures in README, of the local run's reference and of a terminal with a first call."""

from __future__ import annotations

import json
import secrets
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from ordering_tools.documents.chromium import PYTHON, chromium
from ordering_tools.installation import ROOT, NotDone

FOLDER = ROOT / "docs" / "pictures"
MOST_BYTES = 150_000


def take(base_url: str, demo: dict[str, Any]) -> list[str]:
    """Take the pictures; returns their paths.

    Raises:
        NotDone: There is no browser, it failed, or a picture is too large for README.
    """
    browser = chromium()
    FOLDER.mkdir(exist_ok=True)
    command: list[str | Path] = [PYTHON, ROOT / "tools" / "visit.py", "--pictures", base_url, browser, FOLDER]
    done = subprocess.run(  # noqa: S603 - an interpreter and a script of this project
        command, input=_terminal(base_url, demo), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotDone(f"the browser failed: {done.stderr.strip()}")
    pictures = [FOLDER / name for name in ("reference.png", "terminal.png")]
    if large := [str(one) for one in pictures if one.stat().st_size > MOST_BYTES]:
        raise NotDone(f"larger than {MOST_BYTES:,} bytes: {', '.join(large)}")
    return [str(Path(one).relative_to(ROOT)) for one in pictures]


def _terminal(base_url: str, demo: dict[str, Any]) -> str:
    """Return a session: an order, placed once and then again, as a terminal shows it."""
    unit, key = demo["businessUnitId"], f"order-{secrets.token_hex(2)}"
    body = json.dumps(demo["order"])
    lines = [
        f'$ curl -si -H "Authorization: Bearer $TOKEN" -H "Idempotency-Key: {key}" \\',
        f"    -H 'Content-Type: application/json' -d '{body[:48]}…}}' \\",
        '    "$URL/api/v2/orders?businessUnitId=$UNIT"',
    ]
    shown: list[str] = []
    for _ in range(2):
        request = urllib.request.Request(  # noqa: S310 - http on this machine
            f"{base_url}/api/v2/orders?businessUnitId={unit}",
            body.encode(),
            {
                "Authorization": f"Bearer {demo['tokens']['training']}",
                "Content-Type": "application/json",
                "Idempotency-Key": key,
            },
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - as above
            headers = [f"{name}: {answer.headers[name]}" for name in ("Location", "Idempotent-Replayed")]
            content = answer.read().decode()
        kept = [one for one in headers if not one.endswith(": None")]
        shown += [*(lines if not shown else ["$ !!"]), "HTTP/1.1 201 Created", *kept, "", f"{content[:300]}…", ""]
    return "\n".join(shown)
