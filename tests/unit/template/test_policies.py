"""The template and the functions behind the API agree: permissions, event sources, queues and alarms."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from moto.events.models import EventPattern

from ordering.clock import Deadline
from ordering.ecards.incoming import PAYMENT, STOCK
from ordering.entry import wiring
from ordering.entry.batches import count_metric
from ordering.errors import Invalid
from ordering.events.incoming import CANCELLATION
from ordering.fulfilment.incoming import envelopes
from ordering.metrics import measured
from ordering.values import replace
from ordering.webhooks.services import WebhookServices
from ordering_tools.operations.incoming import SOURCES
from ordering_tools.template import Template
from support import policies
from support.aws.simulated_aws import Step
from support.ecards import card, order_id
from support.gateway import ROOT
from support.patterns import matches, read_pattern
from support.policies import Statement, allows, table_accesses, unused
from support.scenarios import Day

TEMPLATE = Template.load(ROOT / "template.yaml")
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE.with_own_tables().document["Resources"]
FUNCTIONS = {
    "fulfilment/stream": "StreamFunction",
    "fulfilment/mails": "MailsFunction",
    "webhooks/delivery": "WebhookDeliveryFunction",
    "fulfilment/incoming": "IncomingFunction",
}
TABLES = {"OrdersTable": "ORDERS_TABLE", "CatalogueTable": "CATALOGUE_TABLE", "AccountsTable": "ACCOUNTS_TABLE"}
KEYS = {
    ("fulfilment/stream", "GenerateDataKey"): {"AccessKeysKey"},
    ("fulfilment/mails", "Decrypt"): {"AccessKeysKey", "CertificatesKey"},
    ("webhooks/delivery", "Decrypt"): {"WebhookSecretsKey"},
    ("fulfilment/incoming", "Decrypt"): {"CertificatesKey"},
    ("fulfilment/incoming", "GenerateDataKey"): {"CertificatesKey"},
}
"""The keys of each function and operation; a `Decrypt` request names no key."""
NOT_ON_THAT_DAY = {
    # Voiding the tickets of crashed writers; sweeping the line items of removed deal orders.
    ("fulfilment/stream", "dynamodb:DeleteItem"),
    ("fulfilment/stream", "dynamodb:BatchWriteItem"),
    # Returning certificates whose mail was refused and whose order was cancelled.
    ("fulfilment/mails", "dynamodb:DeleteItem"),
    # A webhook that continues after it was disabled, and retries.
    ("webhooks/delivery", "dynamodb:BatchWriteItem"),
    ("webhooks/delivery", "sqs:SendMessage"),
    # Only orders that wait for stock again are parked on a condition.
    ("fulfilment/incoming", "dynamodb:ConditionCheckItem"),
}

KEYS_OF_OTHER_DAYS = {
    # Crashed writers of training and e-card orders; line items of removed deal orders.
    ("fulfilment/stream", "VOIDS#*"),
    *(("fulfilment/stream", f"{kind}#deal-lines#*") for kind in ("BOOK", "TICKETS", "HEAD", "VOIDS")),
    # Access keys that an invocation stored before it was killed.
    ("fulfilment/stream", "KEYS#training#*"),
    # Orders that waited for the balance or for stock, and then got it.
    *(("fulfilment/stream", f"{kind}#*") for kind in ("BALANCE", "LEDGER", "WAITING", "PARKED")),
    ("fulfilment/incoming", "WAITING#*"),
    # Certificates that return, because their mail was refused and their order cancelled.
    ("fulfilment/mails", "STOCK#*"),
    ("fulfilment/mails", "PARKED#*"),
    # A webhook that continues after it was disabled.
    ("webhooks/delivery", "DELIVERIES#*"),
    # Cancelled training orders.
    ("fulfilment/incoming", "ORDER#training#*"),
    ("fulfilment/incoming", "BOOK#training#*"),
}
"""The partition keys of statements that no call of the simulated day needs."""


@pytest.fixture(scope="module")
def steps() -> list[Step]:
    """All calls of a simulated day with every kind of order.

    One is cancelled while it waits for stock, one has a mail that bounces and is sent again, and one has many keys.
    """
    day = Day()
    day.begin()
    day.rewards.top_up(10_000, "t2")
    day.rewards.place(6, card(3, "1 month"), card(quantity=1))
    day.world.run()
    day.school.place(1_001)
    day.rewards.orders.cancel(order_id(6))
    day.world.run()
    day.bounce_and_resend()
    day.world.sweep()
    return day.world.steps


def statements(function: str) -> Iterator[Statement]:
    return policies.statements(RESOURCES[FUNCTIONS[function]]["Properties"]["Policies"])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_access_is_allowed(function: str, steps: list[Step]) -> None:
    """Each item that a function reads or writes is allowed by its policy, at a table its environment names."""
    variables = RESOURCES[FUNCTIONS[function]]["Properties"]["Environment"]["Variables"]
    touched = {
        access
        for step in steps
        if step.function == function and step.service == "dynamodb"
        for access in table_accesses(step.operation, step.request)
    }

    assert touched
    assert [one for one in touched if not any(allows(statement, one) for statement in statements(function))] == []
    for table in {resource.partition("/")[0] for _, resource, _ in touched}:
        assert variables[TABLES[table]] == {"Ref": table}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_allowed_action_is_used(function: str, steps: list[Step]) -> None:
    """Every action a function may do is done on the simulated day, or listed as an exception."""
    services = {"dynamodb", "kms", "sqs", "events", "ses"}
    done = {
        action
        for step in steps
        if step.function == function and step.service in services
        for action in (
            [access.action for access in table_accesses(step.operation, step.request)]
            if step.service == "dynamodb"
            else [f"{step.service}:{step.operation.partition(' ')[0]}"]
        )
    }
    may = {action for statement in statements(function) for action in statement["Action"]}

    assert may - done == {action for of, action in NOT_ON_THAT_DAY if of == function}
    assert done <= may


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_partition_key_is_used(function: str, steps: list[Step]) -> None:
    """Every partition key of a statement is used on the simulated day, or listed with the reason."""
    done = {
        access
        for step in steps
        if step.function == function and step.service == "dynamodb"
        for access in table_accesses(step.operation, step.request)
    }
    on_tables = [one for one in statements(function) if one["Action"][0].startswith("dynamodb:")]
    left = {key for _, key in unused(on_tables, done)} - TABLES.keys()

    assert left == {key for of, key in KEYS_OF_OTHER_DAYS if of == function}


def test_keys_in_kms(steps: list[Step]) -> None:
    """Each function may use exactly the keys it needs, with exactly the operations it needs."""
    done = {(step.function, step.operation) for step in steps if step.service == "kms"}
    may = {
        (function, action.removeprefix("kms:")): {resource["Fn::GetAtt"][0] for resource in statement["Resource"]}
        for function in FUNCTIONS
        for statement in statements(function)
        for action in statement["Action"]
        if action.startswith("kms:")
    }

    assert done == KEYS.keys()
    assert may == KEYS


def test_queues(steps: list[Step]) -> None:
    """Each function may write to the queues it writes to, and its environment has their URLs."""
    written = {(one.function, one.operation.partition(" ")[2]) for one in steps if one.service == "sqs"}
    may = {
        (function, resource["Fn::GetAtt"][0])
        for function in FUNCTIONS
        for statement in statements(function)
        if statement["Action"] == ["sqs:SendMessage"]
        for resource in statement["Resource"]
    }

    assert written <= may
    assert may - written == {("fulfilment/stream", "LaterQueue"), ("webhooks/delivery", "WebhookQueue")}
    for function, queue in may:
        variables = RESOURCES[FUNCTIONS[function]]["Properties"]["Environment"]["Variables"]
        assert {"Ref": queue} in variables.values()


@pytest.mark.parametrize("queue", [name for name, one in RESOURCES.items() if one["Type"] == "AWS::SQS::Queue"])
def test_dead_letter_queues(queue: str) -> None:
    """Every queue has a dead-letter queue, which keeps messages for two weeks and has an alarm."""
    properties = RESOURCES[queue]["Properties"]
    if queue.endswith("DeadLetters"):
        alarm = RESOURCES[f"{queue}Alarm"]["Properties"]
        assert properties["MessageRetentionPeriod"] == 14 * 24 * 3600
        assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (0, "GreaterThanThreshold")
        assert alarm["Dimensions"] == [{"Name": "QueueName", "Value": {"Fn::GetAtt": [queue, "QueueName"]}}]
    else:
        dead = properties["RedrivePolicy"]["deadLetterTargetArn"]["Fn::GetAtt"]
        (timeout,) = (
            RESOURCES[FUNCTIONS[function]]["Properties"]["Timeout"]
            for function in FUNCTIONS
            for event in RESOURCES[FUNCTIONS[function]]["Properties"]["Events"].values()
            if event["Properties"].get("Queue") == {"Fn::GetAtt": [queue, "Arn"]}
        )
        assert dead == [queue.replace("Queue", "DeadLetters"), "Arn"]
        # As AWS advises, so that a message is not received twice while its first receiver is throttled.
        assert properties["VisibilityTimeout"] >= 6 * timeout


@pytest.mark.parametrize(
    ("queue", "row"),
    [
        ("LaterQueue", "| an item that was deferred | every {minutes} minutes | {hours} hours |"),
        ("LargeOrdersQueue", "| the keys of a large order | every {minutes} minutes | {hours} hours |"),
        ("MailQueue", "| a mail | every {minutes} minutes; "),
        ("IncomingQueue", "| an incoming event | every {minutes} minutes | {hours} hours |"),
    ],
)
def test_the_page_of_operations(queue: str, row: str) -> None:
    """The retry times in docs/operations.md match the template."""
    properties = RESOURCES[queue]["Properties"]
    seconds, receives = properties["VisibilityTimeout"], properties["RedrivePolicy"]["maxReceiveCount"]
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (line,) = (one for one in page.splitlines() if one.startswith(row.partition("{")[0]))

    assert line.startswith(row.format(minutes=seconds // 60, hours=seconds * receives // 3600))
    assert line.endswith(f"| {seconds * receives // 3600} hours |")


def test_only_a_local_run_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks may use private addresses only with `AWS_SAM_LOCAL`, which no function declares."""
    declared = {
        name
        for resource in RESOURCES.values()
        for name in resource.get("Properties", {}).get("Environment", {}).get("Variables", {})
    }
    monkeypatch.delenv("AWS_SAM_LOCAL", raising=False)
    monkeypatch.setenv("ACCOUNTS_TABLE", "AccountsTable")
    monkeypatch.setenv("WEBHOOK_QUEUE", "https://queue")
    deployed = replace(wiring.open_connections(), settings=dict(os.environ))
    monkeypatch.setenv("AWS_SAM_LOCAL", "true")

    assert (deployed.local, wiring.open_connections().local) == (False, True)
    assert "AWS_SAM_LOCAL" not in declared
    with pytest.raises(Invalid):
        WebhookServices(deployed).registrations(Deadline.after(1)).register("northwind", "https://127.0.0.1/")


def test_the_stream() -> None:
    """The stream starts at its beginning, reports partial failures, bisects batches and ends in a dead-letter queue."""
    events = RESOURCES["StreamFunction"]["Properties"]["Events"]
    (stream,) = (one["Properties"] for one in events.values() if one["Type"] == "DynamoDB")

    assert stream["StartingPosition"] == "TRIM_HORIZON"
    assert stream["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert stream["BisectBatchOnFunctionError"] is True
    assert 0 < stream["MaximumRetryAttempts"] <= 10
    assert stream["MaximumRecordAgeInSeconds"] == 24 * 3600
    assert stream["ParallelizationFactor"] == 10
    assert stream["DestinationConfig"]["OnFailure"]["Destination"] == {"Fn::GetAtt": ["StreamDeadLetters", "Arn"]}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_messages_fail_one_by_one(function: str) -> None:
    """Each consumer of a queue reports failures by message."""
    events = RESOURCES[FUNCTIONS[function]]["Properties"]["Events"]
    queues = [one["Properties"] for one in events.values() if one["Type"] == "SQS"]

    assert queues
    assert all(queue["FunctionResponseTypes"] == ["ReportBatchItemFailures"] for queue in queues)


def test_slow_consumers_take_one_message() -> None:
    """Consumers that wait for a receiver or for SES take one message at a time."""
    for function in ("fulfilment/mails", "webhooks/delivery"):
        events = RESOURCES[FUNCTIONS[function]]["Properties"]["Events"]
        assert [one["Properties"]["BatchSize"] for one in events.values()] == [1]


def test_metrics_have_their_namespace(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics are in the namespace that the template gives all functions: the stack's."""
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "a-stack")
    count_metric("MailsBounced")
    metrics = json.loads(capsys.readouterr().out)

    assert metrics["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "a-stack"
    assert metrics["MailsBounced"] == 1
    assert measured(MailsBounced=1)["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "a-stack"
    shared = TEMPLATE.document["Globals"]["Function"]["Environment"]["Variables"]
    assert shared["POWERTOOLS_METRICS_NAMESPACE"] == {"Ref": "AWS::StackName"}


@pytest.mark.parametrize("queue", ["IncomingQueue", "IncomingDeadLetters"])
def test_senders_of_incoming_events(queue: str) -> None:
    """The queue of incoming events, and that of events that it could not take, accept only the template's rules."""
    policy = RESOURCES[f"{queue}Policy"]["Properties"]
    (statement,) = (one for one in policy["PolicyDocument"]["Statement"] if one["Effect"] == "Allow")
    rules = {name for name, one in RESOURCES.items() if one["Type"] == "AWS::Events::Rule"}

    assert policy["Queues"] == [{"Ref": queue}]
    assert statement["Resource"] == {"Fn::GetAtt": [queue, "Arn"]}
    assert statement["Principal"] == {"Service": "events.amazonaws.com"}
    assert {name for one in statement["Condition"]["ArnEquals"]["aws:SourceArn"] for name, _ in one.values()} == rules
    for rule in rules:
        (target,) = RESOURCES[rule]["Properties"]["Targets"]
        assert target["Arn"] == {"Fn::GetAtt": ["IncomingQueue", "Arn"]}
        assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["IncomingDeadLetters", "Arn"]}}


def event_of(kind: str, source: str, **detail: Any) -> dict[str, Any]:
    return {"source": source, "detail-type": kind, "detail": detail}


def pattern_of(rule: str) -> EventPattern:
    return read_pattern(json.dumps(TEMPLATE.resolve(RESOURCES[rule]["Properties"]["EventPattern"])))


@pytest.mark.parametrize(
    ("rule", "kind", "parameter"),
    [
        ("PaymentRule", PAYMENT, "PaymentSources"),
        ("StockRule", STOCK, "StockSources"),
        ("CancellationRule", CANCELLATION, "CancellationSources"),
    ],
)
def test_rules_take_their_producers_events_only(rule: str, kind: str, parameter: str) -> None:
    """A rule passes its one type on, from the sources of its parameter, and from no other source of an event."""
    sources = TEMPLATE.parameters[parameter]
    pattern = pattern_of(rule)
    others = {"ordering", "aws.ses", "x", *SOURCES.values()} - {*sources}

    assert SOURCES[kind] in sources
    assert RESOURCES[rule]["Properties"]["EventPattern"]["source"] == {"Ref": parameter}
    assert [one for one in SOURCES if matches(pattern, event_of(one, sources[0]))] == [kind]
    assert [source for source in others if matches(pattern, event_of(kind, source))] == []


def test_the_mail_rule_takes_our_mails_events_of_ses_only() -> None:
    """SES's rule passes events of SES on about mails with our configuration set, whatever other sources put."""
    pattern = pattern_of("MailRule")
    ours = {"mail": {"tags": {"ses:configuration-set": ["MailConfigurationSet"]}}}
    theirs = {"mail": {"tags": {"ses:configuration-set": ["x"]}}}

    assert matches(pattern, event_of("Email Bounced", "aws.ses", **ours))
    assert not matches(pattern, event_of("Email Bounced", "aws.ses", **theirs))
    assert not matches(pattern, event_of("Email Bounced", "payments", **ours))


def test_every_incoming_type_has_one_rule() -> None:
    """Each type of inbound event is passed on by exactly one rule, and has a source that the commands use."""
    patterns = [one["Properties"]["EventPattern"] for one in RESOURCES.values() if one["Type"] == "AWS::Events::Rule"]
    named = [kind for pattern in patterns for kind in pattern.get("detail-type", ())]

    assert sorted(named) == sorted(envelopes()) == sorted(SOURCES)


@pytest.mark.parametrize("parameter", ["PaymentSources", "StockSources", "CancellationSources"])
def test_our_own_source_is_no_producers(parameter: str) -> None:
    """Neither the source of our own events nor one of AWS can be set as a producer's source."""
    pattern = re.compile(TEMPLATE.document["Parameters"][parameter]["AllowedPattern"])
    sources = ["payments", "com.example.payments", "ordering-desk", "ordering", "aws.ses", ""]

    assert [source for source in sources if pattern.fullmatch(source)] == sources[:3]


def test_fulfilment_puts_its_own_events_only() -> None:
    """The only statement that allows events onto the bus requires the source that no incoming rule accepts."""
    found = [one for function in FUNCTIONS for one in statements(function) if "events:PutEvents" in one["Action"]]

    assert [one["Condition"] for one in found] == [{"StringEquals": {"events:source": "ordering"}}]


def arns(policy: str, action: str) -> set[str]:
    """The resources of a policy's statement with an action, as they are written."""
    (statement,) = (
        one
        for one in RESOURCES[policy]["Properties"]["PolicyDocument"]["Statement"]
        if action in one["Action"] and isinstance(one["Resource"], list)
    )
    return {str(next(iter(one.values()))) for one in statement["Resource"]}


def test_every_function_is_tried_and_rolled_out() -> None:
    """The hook may call each function's versions, not its unpublished code, and CodeDeploy may move its alias."""
    functions = {name for name, one in RESOURCES.items() if one["Type"] == "AWS::Serverless::Function"}
    others = functions - {"SmokeFunction"}

    assert arns("SmokePolicy", "lambda:InvokeFunction") == {f"${{{name}.Arn}}:*" for name in others}
    assert arns("SmokePolicy", "lambda:ListTags") == {str([name, "Arn"]) for name in others}
    assert arns("RolloutPolicy", "lambda:UpdateAlias") >= {f"${{{name}.Arn}}*" for name in others}


def test_releases_are_watched() -> None:
    """A rollout has the hook, alarms of the template, and a role; the hook itself has none."""
    shared = TEMPLATE.document["Globals"]["Function"]
    rollout = shared["DeploymentPreference"]
    alarms = [one["Ref"] for one in rollout["Alarms"]]

    assert shared["AutoPublishAlias"] == "live"
    assert shared["SnapStart"] == {"ApplyOn": {"Ref": "SnapStart"}}
    assert rollout["Hooks"] == {"PreTraffic": {"Ref": "SmokeFunction"}}
    assert [RESOURCES[name]["Type"] for name in alarms] == ["AWS::CloudWatch::Alarm"] * 3
    assert RESOURCES["SmokeFunction"]["Properties"]["DeploymentPreference"] == {"Enabled": False}
    page = (ROOT / "docs" / "releases.md").read_text(encoding="utf-8")
    assert [name for name in alarms if f"\n| [`{name.removesuffix('Alarm')}`](" not in page] == []
