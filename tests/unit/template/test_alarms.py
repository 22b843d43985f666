"""Each alarm of the template rings when what it is about happens, and not before; and ends when that is over.

What happens is put as the metrics that it causes. Those of AWS have the names and dimensions of its documentation. The
stack's own come from lines that the functions and the gateway really write, read by the template's metric filters and
as embedded metrics.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ordering.aws import kms
from ordering.aws.calls import NotExecuted
from ordering.aws.dynamodb import NoAnswer
from ordering.aws.invocation import MARGIN
from ordering.contexts import own_errors
from ordering.entry.batches import count_metric
from ordering.errors import Unavailable
from ordering.events.incoming import CANCELLATIONS_REFUSED, EVENTS_REFUSED
from ordering.identity.authorizer import Authorizer, make_handler
from ordering.identity.clients import ClientRefused
from ordering.identity.contract import CONTRACT as TOKENS
from ordering.identity.verifier import KeyRing, Verifier
from ordering.mail.outbox import METRICS as MAIL_METRICS
from ordering.mail.outbox import MailEventType
from ordering.web.http import Request
from ordering.webhooks.delivery import Message
from ordering.webhooks.slots import FAILURES
from ordering_tools.local.gateway.access_log import AccessLog
from ordering_tools.local.gateway.events import GatewayRequest
from ordering_tools.local.http import Answer
from ordering_tools.template import Template
from support.authorizer import SHARED_KEY, authorizer_event
from support.aws.fake_connections import failing
from support.aws.memory import Memory
from support.cloudwatch import (
    ALARM,
    OK,
    OPERATIONS,
    STACK,
    Metrics,
    Sample,
    every_minute,
    known,
    metrics_of,
    parts_of,
    states,
)
from support.endpoint import Endpoint
from support.gateway import ROOT, LambdaContext
from support.partners import PARTNER
from support.services import Services

TEMPLATE = Template.load(ROOT / "template.yaml").with_own_tables()
ALARMS = dict(TEMPLATE.resources("AWS::CloudWatch::Alarm"))
COMPOSITES = dict(TEMPLATE.resources("AWS::CloudWatch::CompositeAlarm"))
PARTS = {part for one in COMPOSITES.values() for part in parts_of(one)}
NOW = 2_000_000_000.0
LATER = NOW + 40 * 86_400
SHORT = int(MARGIN * 1000) + 200
"""Milliseconds that are left of a call whose tables do not respond."""

STAGE = {"ApiName": STACK, "Stage": "live"}
AVAILABILITY = 0.999
"""The objective of the share of requests that are not answered with 5xx, in 30 days."""


def line_of(record: logging.LogRecord) -> str:
    """A line as Lambda's runtime client writes it for a logger's record, without the values that no filter reads."""
    plain = vars(logging.makeLogRecord({}))
    extra = {name: value for name, value in vars(record).items() if name not in plain and value is not None}
    return json.dumps({"level": record.levelname, "message": record.getMessage(), **extra}, default=str)


class World:
    """What happens in a stack, and the metrics that it causes."""

    def __init__(self, folder: Path) -> None:
        self.metrics = Metrics()
        self.folder = folder
        self._records: list[logging.LogRecord] = []

    def puts(self, namespace: str, name: str, dimensions: Mapping[str, str], value: float, minutes: int = 5) -> None:
        """A metric of AWS has a value in each of the last minutes."""
        self.metrics.put_of_aws(namespace, name, dimensions, *every_minute(NOW, minutes, (value, 1)))

    def requests(self, minutes: int, each: int, failed: float) -> None:
        """Requests of each of the last minutes, a share of which is answered with 5xx."""
        bad = round(each * failed)
        self.metrics.put_of_aws("AWS/ApiGateway", "Count", STAGE, *every_minute(NOW, minutes, (1, each)))
        samples = every_minute(NOW, minutes, (1, bad), (0, each - bad))
        self.metrics.put_of_aws("AWS/ApiGateway", "5XXError", STAGE, *samples)

    def heartbeat(self, at: float, seconds: float = 0) -> None:
        """The sweeper has reported every minute for a quarter of an hour."""
        self.metrics.put(STACK, "UnfinishedOldestSeconds", {}, *every_minute(at, 15, (seconds, 1)))

    def logs(self, group: str, record: logging.LogRecord, times: int = 1) -> None:
        """A function logs a line, once or several times."""
        for _ in range(times):
            self.metrics.read(TEMPLATE, group, line_of(record), NOW)

    def accesses(
        self, method: str, resource: str, milliseconds: float, times: int = 1, status: int = 200, refusal: str = ""
    ) -> None:
        """The gateway answers requests in each of the last 15 minutes, which took as long."""
        stage = next(one for _, one in TEMPLATE.resources("AWS::Serverless::Api"))
        log = self.folder / "access.log"
        request = GatewayRequest(method, resource, "", [("User-Agent", 'a "b"')], b"", "::1", "HTTP/1.1", "live", 443)
        request.noted.update({"resourcePath": resource, "error.responseType": refusal})
        AccessLog(stage["AccessLogSetting"]["Format"], log).write(request, Answer(status, [], b"{}"))
        line = json.loads(log.read_text().splitlines()[-1])
        assert type(line["ms"]) is int
        for minute in range(15):
            text = json.dumps({**line, "ms": milliseconds})
            self.metrics.read(TEMPLATE, "AccessLogs", text, NOW - 60 * minute, times)

    def prints(self, capsys: pytest.CaptureFixture[str], metric: str, times: int) -> None:
        """A consumer counts something."""
        for _ in range(times):
            count_metric(metric)
        for line in capsys.readouterr().out.splitlines():
            self.metrics.read_embedded(json.loads(line), NOW)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A stack in which nothing happens but that its sweeper reports."""
    return World(tmp_path)


@pytest.fixture
def printed(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, int], None]:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", STACK)
    return lambda metric, times: world.prints(capsys, metric, times)


@dataclass(frozen=True)
class Case:
    """What rings an alarm: it takes a number, with one that rings and the next one that does not."""

    happens: Callable[[World, float], None]
    rings: float
    holds: float
    beats: bool = True
    """Whether the sweeper reports as ever."""


def of_queue(metric: str, queue: str, limit: float, minutes: int = 5) -> Case:
    return Case(
        lambda world, value: world.puts("AWS/SQS", metric, {"QueueName": queue}, value, minutes), limit + 1, limit
    )


def of_function(metric: str, function: str, limit: float, minutes: int = 5) -> Case:
    dimensions = {"FunctionName": function} if function else {}
    return Case(lambda world, value: world.puts("AWS/Lambda", metric, dimensions, value, minutes), limit + 1, limit)


def of_table(metric: str, limit: float, **dimensions: str) -> Case:
    return Case(lambda world, value: world.puts("AWS/DynamoDB", metric, dimensions, value), limit + 1, limit)


def burning(minutes: int, rate: float, each: int = 100_000) -> Case:
    """Failures at a burn rate."""
    share = rate * (1 - AVAILABILITY)
    return Case(lambda world, failed: world.requests(minutes, each, failed), share * 1.01, share * 0.99)


def slow(method: str, resource: str, limit: float) -> Case:
    """Two of a hundred requests are too slow, and not one; the others take as long as they may."""

    def happens(world: World, share: float) -> None:
        world.accesses(method, resource, limit, 100 - int(share))
        world.accesses(method, resource, limit + 1, int(share))

    return Case(happens, 2, 1)


DEAD = "ApproximateNumberOfMessagesVisible"
AGE = "ApproximateAgeOfOldestMessage"
CASES: dict[str, Case] = {
    **{
        f"{queue}DeadLettersAlarm": of_queue(DEAD, f"{queue}DeadLetters", 0)
        for queue in ("Stream", "Later", "LargeOrders", "Mail", "Webhook")
    },
    "IncomingDeadLettersAlarm": of_queue(DEAD, "IncomingDeadLetters", 0),
    "WebhooksAlarm": of_queue(AGE, "WebhookQueue", 1200),
    **{
        f"{queue}Alarm": of_queue(AGE, queue, 900)
        for queue in ("LaterQueue", "LargeOrdersQueue", "MailQueue", "IncomingQueue")
    },
    "FulfilmentAlarm": of_function("IteratorAge", "StreamFunction", 60_000),
    "UnfinishedAlarm": Case(lambda world, value: world.heartbeat(NOW, value), 901, 900, beats=False),
    "SweeperAlarm": Case(lambda world, minutes: world.heartbeat(NOW - 60 * minutes), 29, 14, beats=False),
    "ServerErrorsAlarm": Case(lambda world, failed: world.requests(1, 1000, failed), 0.006, 0.005),
    "FailedRequestsAlarm": Case(lambda world, failed: world.requests(1, 1000, failed), 0.006, 0.005),
    "BudgetHourAlarm": burning(60, 14.4),
    "BudgetFiveMinutesAlarm": burning(5, 14.4),
    "BudgetSixHoursAlarm": burning(360, 6),
    "BudgetHalfHourAlarm": burning(30, 6),
    "BudgetDayAlarm": burning(1440, 3),
    "BudgetTwoHoursAlarm": burning(120, 3),
    "BudgetFastAlarm": burning(60, 14.4),
    "BudgetSlowAlarm": burning(1440, 3),
    "ReadLatencyAlarm": slow("GET", "/api/v2/orders", 1500),
    "CreateLatencyAlarm": slow("POST", "/v1/orders", 2500),
    "TokenLatencyAlarm": slow("POST", "/connect/token", 1500),
    "SlowAlarm": slow("GET", "/v2/orders/{id}", 1500),
    "WorkersAlarm": of_function("Errors", "MailsFunction", 5, 1),
    "ThrottlesAlarm": of_function("Throttles", "", 10),
    "TablesThrottledAlarm": of_table("WriteThrottleEvents", 10, TableName="AccountsTable"),
    "TablesAlarm": of_table("SystemErrors", 10, TableName="OrdersTable", Operation="TransactWriteItems"),
    **{
        f"{table}ErrorsAlarm": of_table("SystemErrors", 10, TableName=table, Operation="Query")
        for table in ("OrdersTable", "CatalogueTable", "AccountsTable")
    },
    "BounceRateAlarm": Case(lambda world, rate: world.puts("AWS/SES", "Reputation.BounceRate", {}, rate), 0.051, 0.05),
    "ComplaintRateAlarm": Case(
        lambda world, rate: world.puts("AWS/SES", "Reputation.ComplaintRate", {}, rate), 0.0011, 0.001
    ),
}
"""By logical id. Alarms about lines of functions have tests of their own below."""

COUNTED = {
    "MailsRefusedAlarm": (MAIL_METRICS[MailEventType.REFUSED], 0),
    "MailsBouncedAlarm": (MAIL_METRICS[MailEventType.BOUNCED], 0),
    "CancellationsRefusedAlarm": (CANCELLATIONS_REFUSED, 0),
    "EventsRefusedAlarm": (EVENTS_REFUSED, 0),
}
"""Alarms about what consumers count: the metric, and how often it may be counted in five minutes."""

LOGGED = {
    "ClientsRefusedAlarm": ("TokenLogs", "client refused", 50),
    "TokensRefusedAlarm": ("AuthorizerLogs", "token refused", 500),
    "AuthorizerFailuresAlarm": ("AuthorizerLogs", "unavailable", 5),
    "WebhooksPausedAlarm": ("WebhookDeliveryLogs", "webhook paused for an hour", 0),
    "KmsFailuresAlarm": ("MailsLogs", "KMS failed", 5),
}
"""Alarms about lines of functions: the log group, the line, and how many there may be in five minutes."""


def state_of(world: World, alarm: str, at: float = NOW, before: Mapping[str, str] | None = None) -> str:
    return states(TEMPLATE, world.metrics, at, before)[alarm]


@pytest.mark.parametrize("alarm", CASES)
def test_alarms_ring(world: World, tmp_path: Path, alarm: str) -> None:
    """An alarm rings at the first number beyond its limit, not at the limit, and ends when all is well again."""
    case = CASES[alarm]
    calm = World(tmp_path)
    for one in (world, calm):
        if case.beats:
            one.heartbeat(NOW)
    case.happens(calm, case.holds)
    case.happens(world, case.rings)
    ringing = states(TEMPLATE, world.metrics, NOW)
    world.heartbeat(LATER)
    world.metrics.put_of_aws("AWS/SES", "Reputation.BounceRate", {}, Sample(LATER, 0))
    world.metrics.put_of_aws("AWS/SES", "Reputation.ComplaintRate", {}, Sample(LATER, 0))

    assert state_of(calm, alarm) != ALARM
    assert ringing[alarm] == ALARM
    assert state_of(world, alarm, LATER, ringing) == OK


@pytest.mark.parametrize("alarm", COUNTED)
def test_alarms_about_counts_ring(world: World, printed: Callable[[str, int], None], alarm: str) -> None:
    """An alarm about what a consumer counts rings at the line that the consumer prints."""
    metric, limit = COUNTED[alarm]
    printed(metric, limit)
    before = state_of(world, alarm)
    printed(metric, 1)

    assert (before, state_of(world, alarm), state_of(world, alarm, LATER)) == (OK, ALARM, OK)


def refuse_a_client() -> None:
    request = Request("POST", "/connect/token", "", "r", {}, {}, None, is_base64=False)
    TOKENS.refuse(ClientRefused("wrong secret", "a-client"), request)


def refuse_a_token(services: Services, header: str = "Bearer x", resource: str = "/v2/orders/{id}") -> None:
    verifier = Verifier(KeyRing(dict), "https://issuer.example", "https://api.example")
    authorizer = Authorizer(verifier, services.accounts, services.reference_tokens, own_errors(), SHARED_KEY)
    make_handler(authorizer)(authorizer_event(header, resource=resource), LambdaContext(SHORT))


def fail_to_authorize() -> None:
    refuse_a_token(
        Services(failing(NoAnswer("lost"), Memory()), "OrdersTable", "CatalogueTable", "AccountsTable"),
        f"Bearer {'0' * 64}",
    )


def pause_a_webhook() -> None:
    endpoint = Endpoint(status=500)
    webhook = endpoint.register()
    for _ in range(FAILURES + 6):
        endpoint.handle(Message(PARTNER.id, webhook.id, endpoint.place()))
        endpoint.now += timedelta(hours=1, minutes=5)


def fail_in_kms() -> None:
    def throttled(operation: str, _: dict[str, Any]) -> dict[str, Any]:
        raise NotExecuted(f"{operation}: ThrottlingException")

    with pytest.raises(Unavailable):
        kms._retried_once(throttled)("Decrypt", {})


HAPPENS: dict[str, Callable[[], None]] = {
    "ClientsRefusedAlarm": refuse_a_client,
    "TokensRefusedAlarm": lambda: refuse_a_token(Services(Memory(), "OrdersTable", "CatalogueTable", "AccountsTable")),
    "AuthorizerFailuresAlarm": fail_to_authorize,
    "WebhooksPausedAlarm": pause_a_webhook,
    "KmsFailuresAlarm": fail_in_kms,
}


@pytest.mark.parametrize("alarm", LOGGED)
def test_alarms_about_lines_ring(world: World, caplog: pytest.LogCaptureFixture, alarm: str) -> None:
    """An alarm about a line rings at the line that the function really logs."""
    group, message, limit = LOGGED[alarm]
    caplog.set_level(logging.INFO, logger="ordering")
    HAPPENS[alarm]()
    record = next(one for one in caplog.records if one.getMessage() == message)
    world.logs(group, record, limit)
    before = state_of(world, alarm)
    world.logs(group, record)

    assert (before, state_of(world, alarm), state_of(world, alarm, LATER)) == (OK, ALARM, OK)


@pytest.mark.parametrize("kind", ["AUTHORIZER_FAILURE", "AUTHORIZER_CONFIGURATION_ERROR"])
def test_a_failed_authorizer_rings(world: World, kind: str) -> None:
    """A request that the gateway answers because its authorizer failed counts as a failure, whatever the cause."""
    world.accesses("GET", "/api/v2/orders", 1, status=500, refusal=kind)

    assert state_of(world, "AuthorizerFailuresAlarm") == OK
    world.accesses("GET", "/api/v2/orders", 1, status=500, refusal=kind)
    assert state_of(world, "AuthorizerFailuresAlarm") == ALARM


def test_every_alarm_is_rung() -> None:
    """No alarm of the template is left out above."""
    assert {*CASES, *COUNTED, *LOGGED} == {*ALARMS, *COMPOSITES}


@pytest.mark.parametrize("alarm", [name for name, one in ALARMS.items() if one.get("Namespace") != STACK])
def test_metrics_of_aws(alarm: str) -> None:
    """Each alarm about a metric of AWS names one that AWS publishes, by the dimensions under which it does."""
    for namespace, name, dimensions in metrics_of(ALARMS[alarm]):
        assert known(namespace, name, dict(dimensions)), (namespace, name, dimensions)


@pytest.mark.parametrize(
    "part",
    [
        "WorkersAlarm",
        "TablesThrottledAlarm",
        *(f"{one}TableErrorsAlarm" for one in ("Orders", "Catalogue", "Accounts")),
    ],
)
def test_each_part_of_a_sum_rings(tmp_path: Path, part: str) -> None:
    """An alarm about several metrics rings at any of them."""
    for namespace, name, dimensions in metrics_of(ALARMS[part]):
        world = World(tmp_path)
        world.heartbeat(NOW)
        world.puts(namespace, name, dict(dimensions), 11)
        assert state_of(world, part) == ALARM, (name, dimensions)


def test_no_operation_is_left_out() -> None:
    """The alarms about errors of tables cover all operations that functions use; a scan is for commands only."""
    for table in ("Orders", "Catalogue", "Accounts"):
        watched = {dict(dimensions)["Operation"] for *_, dimensions in metrics_of(ALARMS[f"{table}TableErrorsAlarm"])}
        assert watched == OPERATIONS - {"Scan", "TransactGetItems"}


def test_no_index_is_left_out() -> None:
    """The alarm about throttles covers each table, and the writes of each index, which hold up those of the table."""
    watched = {
        (by["TableName"], by.get("GlobalSecondaryIndexName"))
        for by in (dict(dimensions) for *_, dimensions in metrics_of(ALARMS["TablesThrottledAlarm"]))
    }
    tables = {table.name: table.create.get("GlobalSecondaryIndexes", []) for table in TEMPLATE.tables}

    assert watched == {
        (name, index) for name, found in tables.items() for index in (None, *(one["IndexName"] for one in found))
    }


def test_no_queue_is_left_out() -> None:
    """Each queue has an alarm about the age of its oldest message, or about its dead letters."""
    watched = {
        dict(dimensions)["QueueName"]: name
        for alarm in ALARMS.values()
        for namespace, name, dimensions in metrics_of(alarm)
        if namespace == "AWS/SQS"
    }

    assert watched == {
        name: DEAD if name.endswith("DeadLetters") else AGE for name, _ in TEMPLATE.resources("AWS::SQS::Queue")
    }


@pytest.mark.parametrize("topic", ["", "arn:aws:sns:eu-west-1:123456789012:alarms"])
def test_who_is_informed(topic: str) -> None:
    """Each alarm sends its beginning and its end to the topic if there is one; a composite's parts send nothing."""
    parameters = {**TEMPLATE.document["Parameters"], "AlarmTopicArn": {"Type": "String", "Default": topic}}
    template = Template({**TEMPLATE.document, "Parameters": parameters})
    kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    for name, alarm in (pair for kind in kinds for pair in template.resources(kind)):
        actions = (alarm.get("AlarmActions"), alarm.get("OKActions"))
        assert actions == ((None, None) if name in PARTS or not topic else ([topic], [topic])), name


@pytest.mark.parametrize("alarm", [name for name in {**ALARMS, **COMPOSITES} if name not in PARTS])
def test_alarms_are_explained(alarm: str) -> None:
    """Each alarm that informs has a row in docs/operations.md, which names the parts of a composite."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| `{alarm.removesuffix('Alarm')}` \| .+ \| .+ \|$", page, re.MULTILINE)

    for part in parts_of(COMPOSITES[alarm]) if alarm in COMPOSITES else ():
        assert f"`{part.removesuffix('Alarm')}`" in row


@pytest.mark.parametrize(
    ("long", "short", "rate", "days"),
    [
        ("BudgetHourAlarm", "BudgetFiveMinutesAlarm", 14.4, 2.1),
        ("BudgetSixHoursAlarm", "BudgetHalfHourAlarm", 6, 5),
        ("BudgetDayAlarm", "BudgetTwoHoursAlarm", 3, 10),
    ],
)
def test_burn_rates(long: str, short: str, rate: float, days: float) -> None:
    """A pair of windows has the threshold of its burn rate, at which the budget of 30 days lasts as long as said."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

    assert ALARMS[long]["Threshold"] == ALARMS[short]["Threshold"] == pytest.approx(rate * (1 - AVAILABILITY))
    assert ALARMS[long]["Period"] == 12 * ALARMS[short]["Period"]
    assert 30 / rate == pytest.approx(days, abs=0.05)
    assert f"| {rate:g} | {ALARMS[long]['Threshold'] * 100:.2f} % |" in page


def test_a_fault_that_is_over_does_not_ring(world: World) -> None:
    """Of failures an hour ago the long window alone tells; of five failures in a night no budget alarm does."""
    world.heartbeat(NOW)
    world.requests(60, 1000, 0.03)
    over = states(TEMPLATE, world.metrics, NOW + 600)
    quiet = World(world.folder)
    quiet.heartbeat(NOW)
    quiet.requests(5, 1, 1)
    night = states(TEMPLATE, quiet.metrics, NOW)

    assert (over["BudgetHourAlarm"], over["BudgetFiveMinutesAlarm"], over["BudgetFastAlarm"]) == (ALARM, OK, OK)
    assert (night["BudgetHourAlarm"], night["BudgetFastAlarm"], night["ServerErrorsAlarm"]) == (ALARM, OK, OK)
