"""Clients that well-known generators make from the document: they compile strictly, and an order lives through them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from client.deals import Deals
from ordering_tools.demo import greeting

pytestmark = pytest.mark.gateway

ROOT = Path(__file__).resolve().parents[2]
GENERATED = Path(__file__).parent / "generated"
DOCUMENT = ROOT / "docs" / "openapi.json"
GENERATORS = ROOT / ".venvs" / "generators" / "bin"
NODE = ROOT / ".venvs" / "node"

OPENAPI_TYPESCRIPT = (NODE / "bin" / "node", NODE / "node_modules" / "openapi-typescript" / "bin" / "cli.js")
HEY_API = (NODE / "bin" / "node", NODE / "node_modules" / "@hey-api" / "openapi-ts" / "bin" / "run.js")
TSC = (
    *(NODE / "bin" / "node", NODE / "node_modules" / "typescript" / "bin" / "tsc"),
    *("--strict", "--noEmit", "--noUncheckedIndexedAccess", "--allowImportingTsExtensions", "--skipLibCheck"),
    *("--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"),
)

SEEN = {
    "training": ["New", "PO-GENERATED", 3, 404],
    "ecards": [200, "100 ₽", 1, ["Ecards[0].Id"]],
    "webhooks": [True, 204],
}
"""What a client sees on the contracts whose orders do not depend on the client."""


def output(*command: str | Path, into: Path, given: str = "") -> str:
    """Run a command in a folder; returns its output."""
    own = {"NO_PROXY": "*", "PATH": f"{NODE / 'bin'}{os.pathsep}{GENERATORS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        list(command),
        cwd=into,
        env={**os.environ, **own, "PYTHONPATH": str(into), "NO_COLOR": "1"},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def seen_with(deal: int) -> dict[str, Any]:
    """What a client sees that orders for a deal."""
    return {**SEEN, "deals": [deal, "1631.99", 3, "already_exists", 204]}


@pytest.fixture(scope="session", autouse=True)
def _environments() -> None:
    assert (NODE / "node_modules").exists(), "run `make test` once: it makes the environment of Node packages"
    assert GENERATORS.exists(), "run `make test` once: it makes the generators' environment"


def test_python_client(deals: Deals, tmp_path: Path) -> None:
    """The client of openapi-python-client passes `mypy --strict`, but for the generator's own fault, and works."""
    package = tmp_path / "order_api"
    output(
        *(GENERATORS / "openapi-python-client", "generate", "--path", DOCUMENT, "--output-path", package),
        *("--meta", "none", "--fail-on-warning"),
        into=tmp_path,
    )
    shutil.copy(GENERATED / "conversation.py", tmp_path)
    # `__exit__` of its base client passes on its arguments without their types.
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\n[mypy-order_api.client]\nignore_errors = true\n")
    output(sys.executable, "-m", "mypy", "--python-executable", GENERATORS / "python", "-p", "order_api", into=tmp_path)

    seen = json.loads(
        output(GENERATORS / "python", "conversation.py", into=tmp_path, given=json.dumps(deals.demo_file))
    )
    assert seen == seen_with(2_000_000)


def test_typescript_client(deals: Deals, tmp_path: Path) -> None:
    """A program with the types of openapi-typescript passes `tsc --strict`, and works with openapi-fetch."""
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(GENERATED / "conversation.ts", tmp_path)
    output(*OPENAPI_TYPESCRIPT, DOCUMENT, "-o", "api.d.ts", into=tmp_path)
    output(*TSC, "conversation.ts", into=tmp_path)

    seen = json.loads(
        output(NODE / "bin" / "node", "conversation.ts", deals.stack.state / greeting.FILE, into=tmp_path)
    )
    assert seen == seen_with(2_000_001)


def test_hey_api_client(tmp_path: Path) -> None:
    """The client of @hey-api/openapi-ts passes `tsc --strict`."""
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    output(*HEY_API, "-i", DOCUMENT, "-o", "client", "-c", "@hey-api/client-fetch", "--no-log-file", into=tmp_path)
    output(*TSC, "client/index.ts", into=tmp_path)

    assert "export const createOrder" in (tmp_path / "client" / "sdk.gen.ts").read_text()
