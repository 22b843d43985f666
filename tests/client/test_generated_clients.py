"""Clients that well-known generators make from the document: they compile strictly, and an order lives through them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from client.deals import Deals
from client.generators import DOCUMENT, GENERATORS, NODE, TYPESCRIPT, check_types, output, seen_with

pytestmark = pytest.mark.gateway

GENERATED = Path(__file__).parent / "generated"
OPENAPI_TYPESCRIPT = (NODE / "bin" / "node", NODE / "node_modules" / "openapi-typescript" / "bin" / "cli.js")
HEY_API = (NODE / "bin" / "node", NODE / "node_modules" / "@hey-api" / "openapi-ts" / "bin" / "run.js")
TSC = (
    *TYPESCRIPT,
    *("--noEmit", "--noUncheckedIndexedAccess", "--allowImportingTsExtensions"),
    *("--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"),
)


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
    ignored = "[mypy-order_api.client]\nignore_errors = true\n"
    check_types(ignored, "-p", "order_api", python=GENERATORS / "python", into=tmp_path)

    given = deals.own_demo_file(tmp_path).read_text()
    seen = json.loads(output(GENERATORS / "python", "conversation.py", into=tmp_path, given=given))
    assert seen == seen_with(2_000_000)


def test_typescript_client(deals: Deals, tmp_path: Path) -> None:
    """A program with the types of openapi-typescript passes `tsc --strict`, and works with openapi-fetch."""
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(GENERATED / "conversation.ts", tmp_path)
    output(*OPENAPI_TYPESCRIPT, DOCUMENT, "-o", "api.d.ts", into=tmp_path)
    output(*TSC, "conversation.ts", into=tmp_path)

    seen = json.loads(output(NODE / "bin" / "node", "conversation.ts", deals.own_demo_file(tmp_path), into=tmp_path))
    assert seen == seen_with(2_000_001)


def test_hey_api_client(deals: Deals, tmp_path: Path) -> None:
    """The client of @hey-api/openapi-ts and its program pass `tsc --strict`, and work in Node.js as they are."""
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    settings = {"input": str(DOCUMENT), "output": {"path": "client", "importFileExtension": ".ts"}}
    (tmp_path / "openapi-ts.config.mjs").write_text(f"export default {json.dumps(settings)}")
    shutil.copy(GENERATED / "hey-api.ts", tmp_path)
    output(*HEY_API, "-c", "@hey-api/client-fetch", "--no-log-file", into=tmp_path)
    output(*TSC, "hey-api.ts", into=tmp_path)

    seen = json.loads(output(NODE / "bin" / "node", "hey-api.ts", deals.own_demo_file(tmp_path), into=tmp_path))
    assert seen == seen_with(2_000_004)
