"""The local run stopped at work, killed, and started again on the same data: three runs, which all tests here share."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from gateway.fixture_calls import (
    behave,
    bodies,
    delivered,
    descendants,
    entries,
    item,
    notes,
    processes,
    put,
    queue_calls,
    send,
    write_note,
)
from gateway.waiting import eventually
from ordering_tools.local.engine.engine import connect
from ordering_tools.local.engine.mails import sent_mails
from support.local_stack import LocalStack, running

pytestmark = pytest.mark.gateway

FIXTURE = Path(__file__).parent / "fixture"


@dataclass(frozen=True)
class Ended:
    """A run that a signal has ended while functions were at work."""

    code: int
    processes: set[int]
    """Those that it had, itself included."""
    printed: str
    """What it has printed since the signal."""


@dataclass(frozen=True)
class Runs:
    """Two runs that have ended, and the third one, in debug mode, on the same data."""

    killed: Ended
    """Ended by SIGKILL."""
    stopped: Ended
    """Ended by Ctrl-C."""
    kept: list[set[str]]
    """The notes that the second and the third run had when they began. Each run has added one before it ended."""
    finished: int
    """The messages that functions of the second run have finished."""
    slow: str
    """The message that was in flight when the second run was stopped."""
    later: str
    """The message that was delayed beyond the end of the second run."""
    early: bool
    """Whether the second run has delivered it nevertheless."""
    dead: str
    """The message that the second run had in a dead-letter queue."""
    third: LocalStack
    keyboard: int
    """The descriptor of what is typed into the third run's terminal."""


def end(stack: LocalStack, number: signal.Signals, last: Callable[[], object] = lambda: None) -> Ended:
    """Send `serve` a signal while a function is busy, immediately after a last action."""
    log, word = stack.state / "functions.log", f"busy until {number.name}"

    def call() -> None:
        with suppress(httpx.HTTPError):
            behave(stack, print=word, sleep=0.9)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(call)
        assert eventually(lambda: log.exists() and word in log.read_text())
        last()
        family, before = descendants(stack.process.pid), len(stack.printed())
        stack.process.send_signal(number)
        code = stack.process.wait(60)
    return Ended(code, family, stack.printed()[before:])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    template, build, state = FIXTURE / "template.yaml", folder / "build", folder / "state"
    with running(state, template=template, build=build) as stack:
        write_note(stack, "one")
        killed = end(stack, signal.SIGKILL)

    with running(state, template=template, build=build) as stack:
        kept = [notes(stack)]
        write_note(stack, "two")
        later = send(stack, "WorkQueue", "", DelaySeconds=10)
        dead = send(stack, "WorkDeadQueue", "")
        mail = {"Simple": {"Subject": {"Data": "kept"}, "Body": {"Text": {"Data": "Hello"}}}}
        connect("sesv2", stack.endpoint).send_email(FromEmailAddress="a@orders.example.com", Content=mail)
        put(stack, item("PLAIN#done"))
        assert eventually(lambda: delivered(stack, "PLAIN#done"))
        slow = send(stack, "SlowQueue", "sleep 2")
        assert eventually(lambda: queue_calls(stack, slow))

        def last() -> None:
            # Calls in flight have three seconds to finish.
            put(stack, item("PLAIN#under-way", command="sleep 4.5"))
            assert eventually(lambda: delivered(stack, "PLAIN#under-way"))
            put(stack, item("PLAIN#unread"))

        stopped = end(stack, signal.SIGINT, last)
        finished = sum(len(call["done"]) for call in entries(stack, '{"queue"') if "done" in call)
        early = bool(queue_calls(stack, later))
    (state / "functions.log").unlink()

    reading, writing = os.pipe()
    try:
        with running(state, template=template, build=build, debug=True, stdin=reading) as third:
            kept.append(notes(third))
            eventually(lambda: delivered(third, "PLAIN#unread"))
            yield Runs(killed, stopped, kept, finished, slow, later, early, dead, third, writing)
    finally:
        os.close(reading)
        os.close(writing)


def test_data_are_kept_and_processes_end(runs: Runs) -> None:
    """After Ctrl-C and after a SIGKILL of `serve` no process is left, and all data are kept."""
    assert runs.stopped.code == 0
    for ended in (runs.killed, runs.stopped):
        assert len(ended.processes) >= 4
        assert not ended.processes & processes().keys()
    assert runs.kept == [{"one"}, {"one", "two"}]


def test_stop_prints_no_fault(runs: Runs) -> None:
    """What a stop prints of the calls that it ends is not printed of a failed function."""
    assert "\nstopping\n" in runs.stopped.printed
    assert re.search(
        "^StreamFunction 1 record .* ms, not finished: the local run ended$", runs.stopped.printed, re.MULTILINE
    )
    assert not re.search("error|fail|SIGKILL|Traceback", runs.stopped.printed, re.IGNORECASE)


def test_restart_continues(runs: Runs) -> None:
    """After a stop the next run delivers records in flight and unread ones, not done ones."""
    assert delivered(runs.third, "PLAIN#") == ["PLAIN#under-way", "PLAIN#unread"]


def test_stop_keeps_messages(runs: Runs) -> None:
    """At a stop calls in flight finish; other messages, and mails, are kept for the next run."""
    assert (runs.finished, runs.early) == (1, False)
    assert bodies(runs.third, "SlowQueue") == "[]"
    assert not queue_calls(runs.third, runs.slow)
    assert runs.later in bodies(runs.third, "WorkQueue") or queue_calls(runs.third, runs.later)
    assert runs.dead in bodies(runs.third, "WorkDeadQueue")
    assert [mail.subject for mail in sent_mails(runs.third.endpoint)] == ["kept"]


def test_debug_mode(runs: Runs) -> None:
    """With --debug functions run in the gateway's process, one at a time, and breakpoint() works in the terminal."""
    stack = runs.third
    with ThreadPoolExecutor(3) as pool:
        first, second = pool.map(lambda _: behave(stack, sleep=0.2).json(), range(2))
        held = pool.submit(behave, stack, **{"break": True})
        assert eventually(lambda: "(Pdb)" in stack.printed())
        os.write(runs.keyboard, b"p 'the event is', event['path']\nc\n")

        assert held.result().status_code == 200
    assert "('the event is', '/behave')" in stack.printed()
    assert first["process"] == second["process"]
    assert first["ended"] <= second["began"] or second["ended"] <= first["began"]
    assert first["environment"]["GREETING"] == "hello"
    assert "HOSTNAME" not in first["environment"]
    echo = httpx.get(f"{stack.base_url}/echo", headers={"Authorization": "Bearer allow"}, timeout=20)
    assert echo.status_code == 200
    assert behave(stack, **{"raise": "on purpose"}).status_code == 502
