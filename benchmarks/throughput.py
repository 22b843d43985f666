"""How many requests the whole local run answers, from the gateway to the engine, and what comes behind a create."""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlencode

from benchmarks.report import Must, Results, Section
from benchmarks.soak import Run
from ordering_tools.demo import greeting
from ordering_tools.demo import training as demo

NAME = "throughput"
CLIENTS = (1, 4, 16)
SECONDS = 10.0
"""How long each number of clients sends requests."""
WARM_UP = 3.0
"""Seconds before, in which processes start."""

_PATH = "/api/v2/orders?"
_CREATE = json.dumps(
    {
        "purchaseOrderReference": "PO-4711",
        "emailKeys": False,
        "orderItems": [{"featureSetId": demo.AZ_300_STANDARD.id, "quantity": 1}],
    }
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A request that clients send, one after the other."""

    name: str
    send: Callable[[http.client.HTTPConnection, dict[str, str]], None]
    status: int


@dataclass(frozen=True, slots=True)
class Point:
    """What clients saw: the milliseconds of each answer, and how many were refused."""

    milliseconds: list[float]
    refused: int
    seconds: float


def run() -> Section:
    """Measure it on a run of its own."""
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        state = Path(folder) / "state"
        local = Run(state)
        try:
            token = json.loads((state / greeting.FILE).read_text())["tokens"]["training"]
            rows, refused = [], 0
            for kind in _KINDS:
                _send(local.port, token, kind, max(CLIENTS), WARM_UP)
                for clients in CLIENTS:
                    point = _send(local.port, token, kind, clients, SECONDS)
                    refused += point.refused
                    rows.append(_row(kind, clients, point))
        finally:
            local.end()
    musts = [Must("every request is answered", f"{refused} refused", refused == 0)]
    return Section(NAME, "Throughput of the local run", _EXPLANATION, [Results("Requests", _COLUMNS, rows)], musts)


_COLUMNS = ("<request", "clients", "answers a second", "p50 ms", "p99 ms")
_EXPLANATION = f"""
Clients that each wait for an answer before they send the next request, for {SECONDS:.0f} s, to `make serve`: gateway,
authorizer, functions under AWS's runtime client, the embedded engine, and the fulfilment of what was created. Clients,
run and engine share this machine's cores, so this is what a developer's machine does and nothing that AWS would.
"""


def _row(kind: Kind, clients: int, point: Point) -> list[str]:
    cuts = quantiles(point.milliseconds, n=100)
    rate = len(point.milliseconds) / point.seconds
    return [
        kind.name if clients == CLIENTS[0] else "",
        f"{clients}",
        f"{rate:.0f}",
        f"{cuts[49]:.0f}",
        f"{cuts[98]:.0f}",
    ]


def _send(port: int, token: str, kind: Kind, clients: int, seconds: float) -> Point:
    """Let clients send a kind of request."""
    end = threading.Event()

    def client() -> tuple[list[float], int]:
        connection, took, refused = http.client.HTTPConnection("127.0.0.1", port, timeout=30), [], 0
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        while not end.is_set():
            began = time.perf_counter()
            kind.send(connection, headers)
            with connection.getresponse() as response:
                response.read()
            took.append((time.perf_counter() - began) * 1e3)
            refused += response.status != kind.status
        connection.close()
        return took, refused

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        sending = [pool.submit(client) for _ in range(clients)]
        time.sleep(seconds)
        end.set()
        found = [each.result() for each in sending]
    took = [one for each, _ in found for one in each]
    return Point(took, sum(refused for _, refused in found), time.perf_counter() - began)


def _list(connection: http.client.HTTPConnection, headers: dict[str, str]) -> None:
    connection.request("GET", _PATH + urlencode({"businessUnitId": demo.UK.id}), headers=headers)


def _create(connection: http.client.HTTPConnection, headers: dict[str, str]) -> None:
    once = {"Idempotency-Key": uuid.uuid4().hex}
    connection.request("POST", _PATH + urlencode({"businessUnitId": demo.UK.id}), _CREATE, headers | once)


_KINDS = (Kind("list of 10", _list, 200), Kind("create, 1 item", _create, 201))
