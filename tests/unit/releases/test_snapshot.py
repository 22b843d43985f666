"""What Lambda keeps in a snapshot of an initialised process, from which many processes then start (SnapStart).

A process that is initialised stands for the snapshot, and its copies for the processes that start from it.
"""

from __future__ import annotations

import ast
import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from ordering.clock import Deadline
from support import rights
from support.aws.memory import Memory
from support.aws.served import Served, ServedCall, served
from support.ecards import services_over
from support.gateway import ROOT, Client, _route
from support.orders import new_order, publish, target
from support.partners import AZ_300, CALLER, PARTNER, STANDARD, UK
from support.releases import CREDENTIALS, Host, hosted

LAYER = ROOT / "layers" / "ordering" / "python" / "ordering"
ORDERS = 12
"""More than the order ids that a process reserves at a time."""

TOKEN = re.compile(r"\b[0-9a-f]{16,}\b")
READS = {"GetItem", "BatchGetItem", "Query"}
BEFORE = re.compile(r"(?:datetime\.now|time\.\w+|secrets\.\w+|uuid\.uuid\d|os\.urandom|random\.(?!SystemRandom)\w+)\(")
"""A call whose result a snapshot must not keep."""


@pytest.fixture
def tables() -> Iterator[Served]:
    memory = Memory()
    services = services_over(memory)
    publish(services, UK, [(AZ_300, [STANDARD])])
    services.accounts(Deadline.after(60)).save_partner(PARTNER)
    with served(memory) as endpoint:
        yield endpoint


def order(host: Host) -> int:
    """Place an order; returns its id."""
    function, resource = _route("/api/v2/orders")
    path, _, query = target("orders").partition("?")
    headers = {"Content-Type": "application/json"}
    client = Client(services_over(Memory()), CALLER)
    event = client.event("POST", path, query, headers, json.dumps(new_order()), base64=False)
    answer = host.call(function, {**event, "resource": resource})
    assert answer["statusCode"] == 201, answer
    return int(json.loads(answer["body"])["id"])


@contextmanager
def restored(host: Host) -> Iterator[None]:
    """Have a process that starts from the snapshot."""
    host.send("fork")
    yield
    host.send("end")
    assert host.read() == "joined"


def restore_twice(host: Host, tables: Served) -> tuple[list[list[int]], list[list[ServedCall]]]:
    """Let two processes of the snapshot place orders; returns the ids of the orders, and the calls, of each."""
    ids, calls = [], []
    for _ in range(2):
        begun = len(tables.calls)
        with restored(host):
            ids.append([order(host) for _ in range(ORDERS)])
        calls.append(tables.calls[begun:])
    return ids, calls


@pytest.mark.parametrize(("client", "reads"), [("direct", 1), ("botocore", 0)])
def test_processes_of_one_snapshot_share_nothing(tables: Served, client: str, reads: int) -> None:
    """Two processes of one snapshot hand out different order ids and tokens, over connections of their own."""
    with hosted(ROOT, tables, ["training/orders"], {**CREDENTIALS, "SERVICE_CLIENT": client}) as host:
        began, asked = host.began, len(tables.calls)
        ids, calls = restore_twice(host, tables)
    made = [
        {token for call in each if call.operation not in READS for token in TOKEN.findall(call.body)} for each in calls
    ]
    ports = [{call.port for call in each} for each in calls]

    assert began == {"connected": 0}
    assert asked == reads
    assert len({*ids[0], *ids[1]}) == 2 * ORDERS
    assert all(len(each) >= ORDERS for each in made)
    assert made[0] & made[1] == set()
    assert ports[0] & ports[1] == set()


def test_no_function_keeps_a_connection_from_its_initialisation(tables: Served) -> None:
    """The snapshot of a function has no connection; its one call was a read that the function's policy allows."""
    functions = sorted(str(path.parent.relative_to(ROOT / "functions")) for path in ROOT.glob("functions/*/*/app.py"))
    for without_tables in ("reference/pages", "releases/smoke"):
        functions.remove(without_tables)
    with hosted(ROOT, tables, functions) as host:
        began = host.began

    assert began == {"connected": 0}
    assert [call.operation for call in tables.calls] == ["GetItem"] * len(functions)
    for function, call in zip(functions, tables.calls, strict=True):
        rights.check(function, call.operation, json.loads(call.body))


def test_connections_that_are_stale_are_replaced(tables: Served) -> None:
    """A call over a connection that the other side has closed meanwhile is made again."""
    tables.hang_up = True
    with hosted(ROOT, tables, ["training/orders"]) as host, restored(host):
        assert host.began
        ids = [order(host) for _ in range(ORDERS)]

    assert len({*ids}) == ORDERS
    assert len({call.port for call in tables.calls}) > ORDERS


class Credentials(BaseHTTPRequestHandler):
    """The endpoint for a function's credentials in Lambda with SnapStart: the first ones are about to expire."""

    given: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        first = not self.given
        self.given.append("INITIAL" if first else f"RESTORED{len(self.given)}")
        expires = datetime.now(UTC) + timedelta(minutes=1 if first else 60)
        names = {"AccessKeyId": self.given[-1], "SecretAccessKey": "s", "Token": "t"}
        body = json.dumps({**names, "Expiration": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_credentials_of_the_snapshot_are_not_used(tables: Served) -> None:
    """A process of a snapshot signs with credentials of its own, as those of the initialisation have expired."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Credentials)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{server.server_port}/"}
    try:
        with hosted(ROOT, tables, ["training/orders"], address) as host:
            assert host.began
            _, calls = restore_twice(host, tables)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    signers = [{call.signer for call in each} for each in calls]

    assert Credentials.given[0] == "INITIAL"
    assert "INITIAL" not in signers[0] | signers[1]
    assert signers[0] & signers[1] == set()


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """The parts of a module that are evaluated while it is imported."""
    pending: list[ast.AST] = [tree]
    while pending:
        part = pending.pop()
        yield part
        if isinstance(part, ast.FunctionDef):
            pending += [*part.decorator_list, *part.args.defaults, *filter(None, part.args.kw_defaults)]
        elif not isinstance(part, ast.Lambda):
            pending += ast.iter_child_nodes(part)


def captured(source: str) -> Sequence[str]:
    """The calls in a module that a snapshot would keep the results of."""
    calls = [ast.unparse(part) for part in at_import(ast.parse(source)) if isinstance(part, ast.Call)]
    return [call for call in calls if BEFORE.match(call)]


@pytest.mark.parametrize("path", sorted(LAYER.rglob("*.py")), ids=lambda path: str(path.relative_to(LAYER)))
def test_no_module_reads_the_clock_or_chance_at_import(path: Path) -> None:
    """No module draws a random number, makes an id or reads the clock while it is imported."""
    assert captured(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "ID = secrets.token_hex(8)",
        "class A:\n    at = time.time()",
        "def f(now=datetime.now(UTC)): ...",
        "GENERATOR = random.Random(7)",
    ],
)
def test_planted_captures_are_found(source: str) -> None:
    """A value that is computed at import is found wherever that is, and one that a function computes is none."""
    assert len(captured(source)) == 1
    assert captured("def f():\n    return secrets.token_hex(8)") == []


def test_no_module_draws_from_the_shared_generator() -> None:
    """Random numbers come from the operating system: a generator in memory would be the same in each process."""
    shared: Callable[[str], list[str]] = re.compile(r"random\.(?!SystemRandom)\w+").findall

    assert {path.name: shared(path.read_text()) for path in LAYER.rglob("*.py") if shared(path.read_text())} == {}
