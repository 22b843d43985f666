"""`python -m benchmarks.soak`: creates orders on the local run while its processes are killed, and looks what is lost.

Clients create training orders over HTTP, each with an idempotency key that they retry until it is answered. Meanwhile
processes of functions are killed, the gateway is killed, and the whole run is stopped or killed and started again. At
the end each order must be there once, be completed, and have its keys and its mail. The engine itself is never killed:
it keeps its data in memory until it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from ordering_tools.demo import greeting
from ordering_tools.demo import training as demo
from ordering_tools.local.engine.mails import sent_mails
from ordering_tools.local.engine.state import find

CLIENTS = 6
FAULT_EVERY = 15.0
"""Seconds between two faults."""
PATIENCE = 1500.0
"""Seconds in which all orders must be completed once they are created."""


class Run:
    """A local run that is started again after each end."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self._log = (state.parent / "soak.log").open("ab")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self.process = self._start()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send the run a signal, wait for its end, and start it again."""
        self.process.send_signal(number)
        self.process.wait()
        self.process = self._start()

    def end(self) -> None:
        """Stop the run for good."""
        self.process.terminate()
        self.process.wait()

    @property
    def services(self) -> str:
        """The endpoint of the engine's services.

        Raises:
            LookupError: The run is not ready.
        """
        found = find(self.state)
        if found is None:
            raise LookupError(f"no run uses {self.state}")
        return found.services

    def kill(self, mark: str) -> bool:
        """Kill one process of this run; False if there is none.

        Args:
            mark: A part of a function's environment, or of the command line of a process that `serve` has started.
        """
        ours = b"AWS_ENDPOINT_URL=" + self.services.encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment, line = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            named = mark.encode()
            if (ours in environment and named in environment) or (parent == self.process.pid and named in line):
                os.kill(int(folder.name), signal.SIGKILL)
                return True
        return False

    def revive(self) -> None:
        """Start the run again if it has ended."""
        if self.process.poll() is not None:
            self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "ordering_tools.local.serve",
            "--port",
            str(self.port),
            "--state",
            str(self.state),
        ]
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            process = subprocess.Popen(command, stdout=self._log, stderr=self._log)  # noqa: S603 - a module of ours
            while process.poll() is None:
                found = find(self.state)
                if found and found.process == process.pid:
                    return process
                time.sleep(0.05)
            time.sleep(0.5)  # the processes of a killed run may still hold the port
        raise SystemExit(f"the run did not start; see {self.state.parent / 'soak.log'}")


def create(http: httpx.Client, number: int, token: str) -> int:
    """Create an order, retried until it is answered; returns its id."""
    body = {
        "purchaseOrderReference": f"SOAK-{number}",
        "contactEmail": f"soak{number}@example.com",
        "emailKeys": number % 10 == 0,
        "orderItems": [{"featureSetId": demo.AZ_300_STANDARD.id, "quantity": 1 + number % 3}],
    }
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": f"soak-{number}"}
    while True:
        try:
            response = http.post(
                "/api/v2/orders",
                params={"businessUnitId": demo.UK.id},
                json=body,
                headers=headers,
            )
        except httpx.HTTPError:
            time.sleep(0.2)
            continue
        if response.status_code == 201:
            return int(response.json()["id"])
        if response.status_code < 500 and response.status_code != httpx.codes.TOO_MANY_REQUESTS:
            raise SystemExit(f"order {number}: {response.status_code} {response.text}")
        time.sleep(0.2)


def call(http: httpx.Client, path: str, token: str, **parameters: Any) -> Any:
    """Read a resource of the demo's business unit, retried as the response asks for."""
    while True:
        response = http.get(
            path,
            params={"businessUnitId": demo.UK.id, **parameters},
            headers={"Authorization": f"Bearer {token}"},
        )
        if response.status_code not in {httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.TOO_MANY_REQUESTS}:
            response.raise_for_status()
            return response.json()
        time.sleep(float(response.headers["Retry-After"]))


def orders(http: httpx.Client, token: str) -> dict[str, list[dict[str, Any]]]:
    """The orders of the soak, by reference."""
    found: dict[str, list[dict[str, Any]]] = {}
    page = 1
    while True:
        answer = call(http, "/api/v2/orders", token, _pageSize=500, _page=page)
        for order in answer["items"]:
            if order["purchasingOrderReference"].startswith("SOAK-"):
                found.setdefault(order["purchasingOrderReference"], []).append(order)
        if not answer["_pageInfo"]["hasNextPage"]:
            return found
        page += 1


def trouble(run: Run, stopping: threading.Event, faults: Counter[str], seed: int) -> None:
    """Kill and stop processes until it is over."""
    chance = random.Random(seed)  # noqa: S311 - it chooses faults, so that a seed repeats them
    while not stopping.wait(FAULT_EVERY):
        match chance.choice(("function", "function", "mail function", "gateway", "stop", "kill")):
            case "function":
                faults["fulfilment function killed"] += run.kill("AWS_LAMBDA_FUNCTION_NAME=StreamFunction")
            case "mail function":
                faults["mail function killed"] += run.kill("AWS_LAMBDA_FUNCTION_NAME=MailsFunction")
            case "gateway":
                if run.kill("gateway.server"):
                    faults["gateway killed"] += 1
                    run.process.wait()
                    run.revive()
            case "stop":
                run.stop()
                faults["run stopped"] += 1
            case "kill":
                run.stop(signal.SIGKILL)
                faults["run killed"] += 1


def main(arguments: list[str]) -> int:
    """Run the soak and print its table; returns 1 if something was lost or came twice."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    run, stopping, faults = Run(folder / "state"), threading.Event(), Counter[str]()
    token = json.loads((folder / "state" / greeting.FILE).read_text())["tokens"]["training"]
    began = time.monotonic()
    troubling = threading.Thread(target=trouble, args=(run, stopping, faults, options.seed))
    troubling.start()
    with ThreadPoolExecutor(CLIENTS) as pool:
        created = [*pool.map(lambda number: create(run.http, number, token), range(options.orders))]
    made = time.monotonic() - began
    stopping.set()
    troubling.join()
    deadline = time.monotonic() + PATIENCE
    while True:
        found = orders(run.http, token)
        mails = Counter(mail.recipients for mail in sent_mails(run.services))
        soaked = {who: count for who, count in mails.items() if who[0].startswith("soak")}
        left = [one for ones in found.values() for one in ones if one["orderStatus"] != "Completed"]
        if (not left and len(soaked) == (options.orders + 9) // 10) or time.monotonic() > deadline:
            break
        # Reading all of them takes as long as fulfilling some.
        time.sleep(15)
    done = time.monotonic() - began
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = pool.map(lambda order: call(run.http, f"/api/v2/orders/{order}/keys", token), created)
        keys = [key["key"] for answer in answers for key in answer["items"]]
    run.end()
    wanted = sum(1 + number % 3 for number in range(options.orders))
    rows = {
        "orders created": len(set(created)),
        "seconds to create them, and until all were done": f"{made:.0f}, {done:.0f}",
        **faults,
        "references missing in the list": options.orders - len(found),
        "references with two orders": sum(len(ones) > 1 for ones in found.values()),
        "orders not completed": len(left),
        "keys missing": wanted - len(keys),
        "keys issued twice": len(keys) - len(set(keys)),
        "mails missing": (options.orders + 9) // 10 - len(soaked),
        "recipients with two mails": sum(count > 1 for count in soaked.values()),
    }
    for name, value in rows.items():
        print(f"| {name} | {value} |")
    bad = ("references missing", "references with", "orders not", "keys", "mails missing")
    return 1 if any(value for name, value in rows.items() if name.startswith(bad)) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
