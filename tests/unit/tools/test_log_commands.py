"""`ordering logs` on the local run's log, and on the log groups of a stack."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ordering.clock import system_clock
from ordering_tools import cli
from ordering_tools.installation import ROOT, Installation
from ordering_tools.operations import commands
from ordering_tools.operations.logs import LEVELS, Wanted, log_groups
from ordering_tools.stacks import Stack
from ordering_tools.template import Template
from support.commands import Done, Run
from support.ecards import COMPANY, Rewards, card, order_id, services_over

NAME = f"ecards#granite#{order_id(1)}"
REQUEST = "0ba0c2c5-0204-4429-b47c-7dde9ae2ae72"
OTHER = "0ba0c2c5-0204-4429-b47c-7dde9ae2ae73"
NOW = system_clock().replace(microsecond=0)


def line(message: str, minutes_ago: int = 1, level: str = "INFO", **more: Any) -> dict[str, Any]:
    """A line as Lambda's runtime writes it."""
    at = f"{NOW - timedelta(minutes=minutes_ago):%Y-%m-%dT%H:%M:%SZ}"
    return {"timestamp": at, "level": level, "message": message, "logger": "ordering", "requestId": "r", **more}


RECEIVED = int((NOW - timedelta(minutes=52)).timestamp() * 1000)
LINES = {
    "Access": [line("access", 52, request=REQUEST, time=RECEIVED, status=200, refusal="-", agent="curl", ms=31)],
    "EcardOrders": [line("request", 50, order=NAME, request=REQUEST, partner="granite", status=200)],
    "Stream": [
        line("order moved", 40, order=NAME, status="ReadyForDelivery", correlation=REQUEST),
        line("order moved", 30, order="training#1", status="Completed"),
    ],
    "Mails": [line("mail not sent", 20, "WARNING", order=NAME, mail=1), line("mail sent", 10, order=NAME, mail=1)],
    "Authorizer": [line("authorized", 51, request=REQUEST)],
}


@pytest.fixture
def placed(company: Rewards, installation: Installation) -> Rewards:
    """A company with an order that was placed 50 minutes ago."""
    earlier = services_over(installation.send, lambda: NOW - timedelta(minutes=50), installation.kms)
    company = Rewards(earlier, COMPANY)
    company.top_up(100)
    company.place(1, card())
    return company


@pytest.fixture
def local(placed: Rewards, run: Run, tmp_path: Path) -> Run:  # noqa: ARG001 - the commands act on it
    """Runs `ordering` with the log of a local run, to which functions also write metrics, and what they print."""
    found = [{**one, "function": f"{name}Function"} for name, lines in LINES.items() for one in lines]
    text = [json.dumps(one) for one in sorted(found, key=lambda one: one["timestamp"])]
    other = ['{"_aws": {"Timestamp": 1}}', "printed", "17", '"text"', '{"timestamp": "2026-01-01", "function": null}']
    (tmp_path / "functions.log").write_text("\n".join([*other, *text]) + "\n")
    return lambda *words: run(*words, "--state", str(tmp_path))


class Groups:
    """CloudWatch Logs with a log group of each function, that returns an event a page, and empty pages between."""

    def __init__(self) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.refusal: ClientError | None = None

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        if self.refusal:
            raise self.refusal
        lines = [
            one
            for one in LINES[request["logGroupName"].removeprefix("ordering-").removesuffix("Logs-1")]
            if holds(request["filterPattern"], one) and moment(one) >= request["startTime"]
        ]
        page, rest = divmod(int(request.get("nextToken", "0")), 2)
        events = lines[page : page + 1] if rest else []
        after = {"nextToken": str(2 * page + rest + 1)} if page < len(lines) else {}
        return {"events": [{"timestamp": moment(one), "message": json.dumps(one)} for one in events], **after}


def moment(one: Mapping[str, Any]) -> int:
    return int(datetime.fromisoformat(one["timestamp"]).timestamp() * 1000)


def holds(pattern: str, one: Mapping[str, Any]) -> bool:
    """Whether a line has what a filter pattern requires: of each group of alternatives, one equality."""
    groups = [re.findall(r'\(\$\.(\w+) = "([^"]*)"\)', group) for group in pattern.split(" && ")]
    return all(any(one.get(name) == value for name, value in group) for group in groups)


@pytest.fixture
def groups() -> Groups:
    return Groups()


@pytest.fixture
def stack(
    placed: Rewards,  # noqa: ARG001 - the commands act on it
    groups: Groups,
    installation: Installation,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Runs `ordering` on a stack."""
    resources = {f"{name}Logs": f"ordering-{name}Logs-1" for name in LINES} | {"OrdersTable": "ordering-OrdersTable"}
    site = replace(
        installation,
        stack=Stack(resources=resources, parameters={"LogRetentionDays": "30"}, name="production"),
        account="123456789012",
        connect=lambda service: {"logs": groups}[service],
    )
    monkeypatch.setattr(commands, "open_stack", lambda *_: site)

    def command(*words: str) -> Done:
        code = cli.main([*words, "--stack", "production"])
        return Done(code, *capsys.readouterr())

    return command


@pytest.fixture(params=["local", "stack"])
def either(request: pytest.FixtureRequest) -> Run:
    """Runs `ordering` on the one and on the other."""
    found: Run = request.getfixturevalue(request.param)
    return found


def told(done: Done) -> list[tuple[str, str]]:
    assert done.code == 0
    return [(one["function"], one["message"]) for one in json.loads(done.output)]


def test_lines_of_an_order(either: Run) -> None:
    """All functions' lines about an order are printed by time, however the order is named, and no others."""
    expected = [
        ("EcardOrders", "request"),
        ("Stream", "order moved"),
        ("Mails", "mail not sent"),
        ("Mails", "mail sent"),
    ]

    assert told(either("logs", "granite/1", "--json")) == expected
    assert told(either("logs", NAME, "--json")) == expected
    rows = [re.split(" {2,}", row.strip())[1:] for row in either("logs", order_id(1)).output.splitlines()]
    assert rows[2:4] == [
        ["Stream", "INFO", "order moved", f"status: ReadyForDelivery, correlation: {REQUEST}"],
        ["Mails", "WARNING", "mail not sent", "mail: 1"],
    ]


def test_since_level_and_function(either: Run) -> None:
    """Only lines of a level or above, since a moment, or of a function are printed."""
    assert told(either("logs", "granite/1", "--level", "warning", "--json")) == [("Mails", "mail not sent")]
    # The lines were written when the tests were collected, which may be minutes ago.
    minutes = (system_clock() - NOW) // timedelta(minutes=1) + 15
    assert told(either("logs", "granite/1", "--since", f"{minutes}m", "--json")) == [("Mails", "mail sent")]
    assert told(either("logs", "--function", "Mails", "--level", "warning", "--json")) == [("Mails", "mail not sent")]


def test_lines_of_a_request(either: Run) -> None:
    """A request's lines, and workers' lines about the order that it created, are found by its X-Request-Id."""
    assert told(either("logs", "--request", REQUEST, "--json")) == [
        ("Access", "access"),
        ("Authorizer", "authorized"),
        ("EcardOrders", "request"),
        ("Stream", "order moved"),
    ]
    output = either("logs", "--request", REQUEST).output
    assert output.endswith(f"\nall about the order: ordering logs '{NAME}'\n")
    assert "order moved" in output
    assert "correlation: " not in output
    assert told(either("logs", "--request", OTHER, "--json")) == []


def test_the_latest_lines(either: Run) -> None:
    """Of more lines than the limit, the latest are printed, and how many there are."""
    done = either("logs", "granite/1", "--limit", "2", "--json")

    assert told(done) == [("Mails", "mail not sent"), ("Mails", "mail sent")]
    assert done.errors == "the latest 2 of 4 lines; see --limit\n"


def test_nothing_found(either: Run) -> None:
    """If there is no line, it says what to do."""
    done = either("logs", "granite/1", "--since", "5m", "--level", "error")

    assert done.code == 0
    assert f"go back to when it was placed with --since {NOW - timedelta(minutes=50):%Y-%m-%d}" in done.output
    assert "go back further with --since" in either("logs", "training#404").output
    assert "leave out --level" in done.output
    assert done.output.endswith("or see what the tables have with `ordering order trace granite/1`\n")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "name an order, or say --request, --function or --level"),
        (("--request", 'x" || ($.a = "b'), "is not the id of a request, which is the X-Request-Id of the response"),
    ],
)
def test_wrong_usage(local: Run, words: tuple[str, ...], reason: str) -> None:
    """Without a choice of lines, or with an id that is none, it says what to write."""
    done = local("logs", *words)

    assert done.code == 2
    assert reason in done.errors


def test_without_a_log(placed: Rewards, run: Run, tmp_path: Path) -> None:  # noqa: ARG001 - the commands act on it
    """If no function of the local run has logged yet, it says so."""
    assert "no function has run yet" in run("logs", "granite/1", "--state", str(tmp_path)).error


def test_an_unknown_function(stack: Run) -> None:
    """A function that the stack does not have is refused with the names of those that it has."""
    assert stack("logs", "--function", "Nope").error == (
        "'Nope' is not a function; there are: Access, Authorizer, EcardOrders, Mails, Stream"
    )


def test_refused_by_aws(stack: Run, groups: Groups) -> None:
    """If AWS refuses, the reason and the page about rights are named."""
    groups.refusal = ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "FilterLogEvents")
    error = stack("logs", "granite/1").error

    assert "AccessDeniedException" in error
    assert "docs/operations.md, Rights" in error


def test_what_aws_is_asked(stack: Run, groups: Groups) -> None:
    """Each log group is searched by a pattern of CloudWatch, from the moment on, page by page."""
    stack("logs", "granite/1", "--since", "30m", "--level", "error")

    assert {one["logGroupName"] for one in groups.asked} == {f"ordering-{name}Logs-1" for name in LINES}
    (pattern,) = {one["filterPattern"] for one in groups.asked}
    assert pattern == f'{{ ($.order = "{NAME}") && (($.level = "ERROR") || ($.level = "CRITICAL")) }}'
    assert all(0 <= time.time() - 30 * 60 - one["startTime"] / 1000 < 60 for one in groups.asked)


def test_what_aws_is_asked_for_a_request(stack: Run, groups: Groups) -> None:
    """The id of a request may be on the request's own lines, or on those of the work that followed."""
    stack("logs", "--request", REQUEST, "--level", "critical")

    (pattern,) = {one["filterPattern"] for one in groups.asked}
    assert pattern == f'{{ (($.request = "{REQUEST}") || ($.correlation = "{REQUEST}")) && (($.level = "CRITICAL")) }}'


def test_searched_from_the_order_on(stack: Run, groups: Groups) -> None:
    """What was logged before an order was placed is not searched, whatever --since says."""
    stack("logs", "granite/1", "--since", "30d")

    assert {one["startTime"] for one in groups.asked} == {int((NOW - timedelta(minutes=51)).timestamp() * 1000)}


def test_memory_is_bounded(local: Run, tmp_path: Path) -> None:
    """Of a log of any length, only as many lines as the limit are kept."""
    text = json.dumps(line("mail sent", order=NAME, filler="x" * 1000)) + "\n"
    with (tmp_path / "functions.log").open("a") as file:
        file.writelines(text for _ in range(20_000))
    tracemalloc.start()
    done = local("logs", "granite/1", "--limit", "10", "--json")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(told(done)) == 10
    assert most < 2_000_000


def test_log_groups_of_the_template() -> None:
    """Each function logs to the group that has its name, so that the command knows whose lines it reads."""
    resources = Template.load(ROOT / "template.yaml").document["Resources"]
    stack = Stack(resources=dict.fromkeys(resources, ""))
    named = log_groups(Installation(_nothing, _nothing, None, "", "", stack=stack))
    functions = {
        name.removesuffix("Function"): one["Properties"]["LoggingConfig"]["LogGroup"]["Ref"]
        for name, one in resources.items()
        if one["Type"] == "AWS::Serverless::Function"
    }

    assert {**functions, "Access": "AccessLogs"} == {name: f"{name}Logs" for name in named}


def _nothing(*_: Any) -> Any:
    raise AssertionError


def test_levels() -> None:
    """A level stands for itself and all above it."""
    levels = [Wanted(datetime(2026, 1, 1, tzinfo=UTC), level).levels for level in LEVELS]

    assert levels == [LEVELS[first:] for first in range(len(LEVELS))]
