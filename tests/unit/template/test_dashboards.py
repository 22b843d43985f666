"""The dashboards and saved queries of the template are about metrics, resources and keys of lines that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from ordering.events.incoming import CANCELLATIONS_REFUSED, EVENTS_REFUSED
from ordering.mail.outbox import METRICS as MAIL_METRICS
from ordering_tools.template import Template
from support.cloudwatch import STACK, known
from support.gateway import ROOT

TEMPLATE = Template.load(ROOT / "template.yaml").with_own_tables()
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE.document["Resources"]
DASHBOARDS = dict(TEMPLATE.resources("AWS::CloudWatch::Dashboard"))
QUERIES = dict(TEMPLATE.resources("AWS::Logs::QueryDefinition"))
CONTRACTS = {"training", "deals", "ecards"}
BY_CONTRACT = {
    *("OrdersCreated", "OrdersReplayed", "Conflicts", "StoreRetries"),
    *("Voids", "OldestOpenTicketSeconds", "WebhookLagSeconds"),
}
"""Those of the stack's metrics that have the contract as their dimension; see `unit/test_metrics.py`."""

FILTERED = {
    one["MetricName"]
    for _, filter_ in TEMPLATE.resources("AWS::Logs::MetricFilter")
    for one in filter_["MetricTransformations"]
}
WITHOUT_DIMENSION = {
    *FILTERED,
    *MAIL_METRICS.values(),
    *(CANCELLATIONS_REFUSED, EVENTS_REFUSED, "KmsFailures", "UnfinishedOldestSeconds", "OrdersSwept"),
}


def widgets(dashboard: str) -> list[dict[str, Any]]:
    """The widgets of a dashboard, with the logical id in place of each reference."""
    text = DASHBOARDS[dashboard]["DashboardBody"]["Fn::Sub"]
    found: list[dict[str, Any]] = json.loads(re.sub(r"\$\{([^}]+)\}", r"\1", text))["widgets"]
    return found


def metrics_of_widget(widget: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, str]]]:
    for row in widget["properties"].get("metrics", []):
        namespace, name, *pairs = [one for one in row if isinstance(one, str)]
        yield namespace, name, dict(zip(pairs[::2], pairs[1::2], strict=True))


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_metrics_of_dashboards(dashboard: str) -> None:
    """Each metric of a dashboard is one that AWS publishes, or one of the stack, by the right dimensions."""
    for widget in widgets(dashboard):
        for namespace, name, dimensions in metrics_of_widget(widget):
            if namespace != STACK:
                assert known(namespace, name, dimensions), (namespace, name, dimensions)
            elif dimensions:
                assert name in BY_CONTRACT
                assert dimensions.keys() == {"contract"}
                assert dimensions["contract"] in CONTRACTS
            else:
                assert name in WITHOUT_DIMENSION, name


@pytest.mark.parametrize("dashboard", DASHBOARDS)
def test_resources_of_dashboards(dashboard: str) -> None:
    """A dashboard refers to the stack's resources only, and fills its rows, which are 24 wide."""
    text = DASHBOARDS[dashboard]["DashboardBody"]["Fn::Sub"]
    named = {found.partition(".")[0] for found in re.findall(r"\$\{([^}]+)\}", text)}

    assert {one for one in named if not one.startswith("AWS::")} <= {*RESOURCES, *TEMPLATE.document["Parameters"]}
    assert sum(widget["width"] for widget in widgets(dashboard)) % 24 == 0


def test_all_metrics_are_shown() -> None:
    """Each metric of the stack is on a dashboard or has an alarm, and is explained in docs/operations.md."""
    shown = {
        name for dashboard in DASHBOARDS for one in widgets(dashboard) for _, name, _ in metrics_of_widget(one)
    } | {one.get("MetricName", "") for _, one in TEMPLATE.resources("AWS::CloudWatch::Alarm")}
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("\n## Metrics\n")[2]
    table = page.partition("\n## ")[0]

    assert shown >= BY_CONTRACT | WITHOUT_DIMENSION
    assert {*re.findall(r"`(\w+)`", table)} - {"contract"} == BY_CONTRACT | WITHOUT_DIMENSION


def test_alarms_that_inform_are_on_a_dashboard() -> None:
    """Each alarm that informs is on one of the dashboards."""
    kinds = ("AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm")
    informing = {
        name for kind in kinds for name, one in TEMPLATE.resources(kind) if "OKActions" in RESOURCES[name]["Properties"]
    }
    shown = {
        name.removesuffix(".Arn")
        for dashboard in DASHBOARDS
        for widget in widgets(dashboard)
        for name in widget["properties"].get("alarms", [])
    }

    assert shown == informing


@pytest.mark.parametrize("query", QUERIES)
def test_saved_queries(query: str) -> None:
    """A saved query searches log groups of the stack, and is named in docs/operations.md."""
    name = QUERIES[query]["Name"]["Fn::Sub"].removeprefix("${AWS::StackName}/")

    assert {RESOURCES[group]["Type"] for group in QUERIES[query]["LogGroupNames"]} == {"AWS::Logs::LogGroup"}
    assert f"`{name}`" in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_no_function_is_left_out_of_the_queries() -> None:
    """The way of an order or a request is searched in the logs of all functions but the hook of releases."""
    groups = {
        name: (one["LoggingConfig"]["LogGroup"], one)
        for name, one in TEMPLATE.resources("AWS::Serverless::Function")
        if name != "SmokeFunction"
    }
    of_the_api = {
        group
        for group, one in groups.values()
        if any(event["Type"] == "Api" for event in one.get("Events", {}).values())
    }

    assert {*QUERIES["OrderQuery"]["LogGroupNames"]} == {group for group, _ in groups.values()}
    assert {*QUERIES["RequestQuery"]["LogGroupNames"]} == {*QUERIES["OrderQuery"]["LogGroupNames"], "AccessLogs"}
    for name in ("UnitsQuery", "RefusalsQuery"):
        assert {*QUERIES[name]["LogGroupNames"]} == {*of_the_api, "AuthorizerLogs", "AccessLogs"}
