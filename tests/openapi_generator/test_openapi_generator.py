"""Clients that openapi-generator makes from the document: they compile, and an order lives through them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from client.deals import Deals
from client.generators import DOCUMENT, NODE, ROOT, TYPESCRIPT, check_types, output, seen_with
from support.real_stack import RealStack

pytestmark = pytest.mark.gateway

PROGRAMS = Path(__file__).parent
ENVIRONMENT = ROOT / ".venvs" / "openapi-generator" / "bin"
# Its Python client leaves types out of some functions, and passes some values on as `Any`.
UNTYPED = """\
[mypy-order_api.*]
implicit_reexport = true
disallow_untyped_defs = false
disallow_incomplete_defs = false
disallow_untyped_calls = false
warn_return_any = false
[mypy-dateutil.*]
ignore_missing_imports = true
"""


@pytest.fixture(scope="session", autouse=True)
def _environments() -> None:
    assert (NODE / "node_modules").exists(), "run `make clients` once: it makes the environment of Node packages"
    assert ENVIRONMENT.exists(), "run `make clients` once: it makes the environment of openapi-generator"


def generate(generator: str, document: Path, *options: str, into: Path) -> None:
    """Make a client, with the Java of the environment."""
    output(ENVIRONMENT / "openapi-generator-cli", "generate", "-g", generator, "-i", document, *options, into=into)


def test_python_client(real: RealStack, tmp_path: Path) -> None:
    """The client of `python`, made without the section `webhooks`, passes `mypy` as far as it has types, and works."""
    document = json.loads(DOCUMENT.read_text())
    del document["webhooks"]
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    generate("python", tmp_path / "openapi.json", "--package-name", "order_api", "-o", ".", into=tmp_path)
    output(ENVIRONMENT / "python", "-m", "compileall", "-q", "order_api", into=tmp_path)
    shutil.copy(PROGRAMS / "conversation.py", tmp_path)
    python = ENVIRONMENT / "python"
    check_types(UNTYPED, "-p", "order_api", "-m", "conversation", python=python, into=tmp_path)

    given = Deals(real.stack).own_demo_file(tmp_path).read_text()
    seen = json.loads(output(python, "conversation.py", into=tmp_path, given=given))
    assert seen == seen_with(2_000_002)


def test_typescript_client(real: RealStack, tmp_path: Path) -> None:
    """The client of `typescript-fetch` and its program pass `tsc --strict`, and work as modules in Node.js."""
    (tmp_path / "node_modules").symlink_to(NODE / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    generate("typescript-fetch", DOCUMENT, "-p", "importFileExtension=.js", "-o", "client", into=tmp_path)
    shutil.copy(PROGRAMS / "conversation.ts", tmp_path)
    # The sources of its client are no modules that Node.js runs without a compiler.
    output(*TYPESCRIPT, "--target", "es2022", "--module", "nodenext", "conversation.ts", into=tmp_path)

    seen = json.loads(
        output(NODE / "bin" / "node", "conversation.js", Deals(real.stack).own_demo_file(tmp_path), into=tmp_path)
    )
    assert seen == seen_with(2_000_003)
