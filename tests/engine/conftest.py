"""What the engine tests share: the engines themselves, and the lines that they report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from engine.engines import GIVEN, NAMES, Engine, running
from ordering_tools.local.engine.engine import ENDPOINT_VARIABLE

_REPORTED = "reported at the end"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    lines = [
        line
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, line in report.user_properties
        if name == _REPORTED
    ]
    if lines:
        terminalreporter.section("explored and measured")
        for line in lines:
            terminalreporter.line(str(line))
        if not GIVEN:
            terminalreporter.line(f"on {', '.join(NAMES)}; {ENDPOINT_VARIABLE} adds your own endpoint")


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Print a line at the end of the run, wherever the test runs."""
    return lambda line: record_property(_REPORTED, line)


@pytest.fixture(scope="session")
def _engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Engine]]:
    """Each engine once a session, started when a test first uses it."""
    with ExitStack() as stack:
        started: dict[str, Engine] = {}

        def engine(name: str) -> Engine:
            if name not in started:
                started[name] = stack.enter_context(running(name, tmp_path_factory.mktemp(name)))
            return started[name]

        yield engine


@pytest.fixture(scope="module", params=NAMES)
def module_engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Every engine in turn, for the tests of a module."""
    name: str = request.param
    if name == "moto":
        # Its mock replaces every connection of the process, so it must be over before another engine's tests begin.
        with running(name, tmp_path_factory.getbasetemp()) as engine:
            yield engine
    else:
        yield request.getfixturevalue("_engines")(name)


@pytest.fixture
def engine(module_engine: Engine) -> Engine:
    """Every engine in turn."""
    module_engine.clear()
    return module_engine


@pytest.fixture
def concurrent_engine(engine: Engine) -> Engine:
    """Every engine that can take calls of several threads."""
    if engine.threads:
        pytest.skip(f"{engine.name}: {engine.threads}")
    return engine
