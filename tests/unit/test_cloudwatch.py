"""The tests' CloudWatch: how it evaluates alarms, expressions and patterns, as AWS documents it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ordering_tools.template import Template
from support.cloudwatch import (
    ALARM,
    INSUFFICIENT,
    OK,
    Metrics,
    Sample,
    composite_state,
    every_minute,
    fits,
    known,
    state,
)

ALARM_ABOUT_ERRORS = {
    "Namespace": "AWS/Lambda",
    "MetricName": "Errors",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 3,
    "Threshold": 5,
    "ComparisonOperator": "GreaterThanThreshold",
}
NOW = 1_000_000.0


def metrics(*values: float | None) -> Metrics:
    """The sums of the last minutes, the latest last; None for a minute without a sample."""
    found = Metrics()
    for index, value in enumerate(reversed(values)):
        if value is not None:
            found.put_of_aws("AWS/Lambda", "Errors", {}, Sample(NOW - 60 * index, value))
    return found


@pytest.mark.parametrize(
    ("values", "changes", "expected"),
    [
        ((6, 6, 6), {}, ALARM),
        ((6, 5, 6), {}, OK),
        ((6, 5, 6), {"DatapointsToAlarm": 2}, ALARM),
        ((9, 9, 9, 0), {}, OK),
        ((6, None, 6), {"TreatMissingData": "notBreaching"}, OK),
        ((6, None, 6), {"TreatMissingData": "breaching"}, ALARM),
        ((), {"TreatMissingData": "breaching"}, ALARM),
        ((), {"TreatMissingData": "notBreaching"}, OK),
        ((), {}, INSUFFICIENT),
        ((), {"TreatMissingData": "ignore"}, "as before"),
        ((4, 4, 4), {"ComparisonOperator": "LessThanThreshold"}, ALARM),
        ((5, 5, 5), {"ComparisonOperator": "GreaterThanOrEqualToThreshold"}, ALARM),
    ],
)
def test_states(values: tuple[float | None, ...], changes: dict[str, Any], expected: str) -> None:
    """An alarm rings if enough of its last periods breach, where missing ones count as the alarm says."""
    assert state({**ALARM_ABOUT_ERRORS, **changes}, metrics(*values), NOW, "as before") == expected


def test_statistics() -> None:
    """A period's samples become one value; a percentile is of all samples, and a count of none is missing."""
    found = Metrics()
    found.put("N", "M", {}, *every_minute(NOW, 1, (1, 98), (7, 1), (9, 1)))
    name = ("N", "M", frozenset[tuple[str, str]]())
    statistics = ("Sum", "Average", "SampleCount", "Maximum", "Minimum", "p50", "p99", "p99.9")

    assert [found.value(name, one, NOW - 60, NOW) for one in statistics] == [114, 1.14, 100, 9, 1, 1, 7, 9]
    assert found.value(name, "SampleCount", NOW, NOW + 60) is None


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("SUM(FILL(METRICS(), 0))", ALARM),
        ("SUM(METRICS())", INSUFFICIENT),  # data are missing from one series
        ("FILL(b, 9)", ALARM),
        ("IF(a > 6, a, 0)", OK),
        ("IF(a > 5, a / 1, 0)", ALARM),
        ("a / 0", INSUFFICIENT),
        ("IF(b > 5, a, 0)", INSUFFICIENT),
    ],
)
def test_expressions(expression: str, expected: str) -> None:
    """An expression is calculated for each period; missing data make it missing unless they are filled."""
    errors = {"Namespace": "AWS/Lambda", "MetricName": "Errors"}
    queries = [
        {"Id": "e", "Expression": expression},
        *(
            {"Id": name, "ReturnData": False, "MetricStat": {"Metric": metric, "Stat": "Sum", "Period": 60}}
            for name, metric in (("a", errors), ("b", {**errors, "MetricName": "Throttles"}))
        ),
    ]
    alarm = {"EvaluationPeriods": 1, "Threshold": 5, "ComparisonOperator": "GreaterThanThreshold", "Metrics": queries}

    assert state(alarm, metrics(6), NOW) == expected


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{ $.message = "mail sent" }', True),
        ('{ $.message = "mail*" }', True),
        ('{ $.message != "mail sent" }', False),
        ("{ ($.status >= 200) && ($.status < 300) }", True),
        ("{ $.status = 404 }", False),
        ('{ ($.status = 404) || ($.message = "mail sent") }', True),
        ('{ $.status = "200" }', False),
        ('{ $.absent != "x" }', False),
    ],
)
def test_patterns(pattern: str, expected: bool) -> None:  # noqa: FBT001 - an expectation
    """A filter pattern fits by values of the same type, with wildcards in texts, and never by absent keys."""
    assert fits(pattern, {"message": "mail sent", "status": 200}) is expected


def test_lines_publish_metrics() -> None:
    """A line publishes what the filters of its own log group take from it, and its embedded metrics."""
    filter_ = {
        "LogGroupName": {"Ref": "AccessLogs"},
        "FilterPattern": '{ $.method = "GET" }',
        "MetricTransformations": [
            {"MetricNamespace": {"Ref": "AWS::StackName"}, "MetricName": "ReadLatency", "MetricValue": "$.ms"}
        ],
    }
    template = Template({"Resources": {"One": {"Type": "AWS::Logs::MetricFilter", "Properties": filter_}}})
    found = Metrics()
    found.read(template, "AccessLogs", '{"method": "GET", "ms": 31}', NOW)
    found.read(template, "AccessLogs", '{"method": "PUT", "ms": 32}', NOW)
    found.read(template, "OtherLogs", '{"method": "GET", "ms": 33}', NOW)
    directive = {"Dimensions": [["contract"], []], "Metrics": [{"Name": "Voids"}]}
    embedded = {"_aws": {"CloudWatchMetrics": [directive]}, "contract": "a", "Voids": 2}
    found.read(template, "OtherLogs", json.dumps(embedded), NOW)

    assert {(name, tuple(by)): [one.value for one in samples] for (_, name, by), samples in found.samples.items()} == {
        ("ReadLatency", ()): [31],
        ("Voids", (("contract", "a"),)): [2],
        ("Voids", ()): [2],
    }


def test_names_of_aws() -> None:
    """A misspelt metric, a wrong dimension and an operation that does not exist are not known."""
    assert known("AWS/DynamoDB", "SystemErrors", {"TableName": "a", "Operation": "Query"})
    assert not known("AWS/DynamoDB", "SystemErrors", {"TableName": "a"})
    assert not known("AWS/DynamoDB", "SystemErrors", {"TableName": "a", "Operation": "Querry"})
    assert not known("AWS/DynamoDB", "SystemError", {"TableName": "a", "Operation": "Query"})


def test_composites() -> None:
    """A composite alarm follows its rule, whose parentheses bind before AND, and AND before OR."""
    rule = {"AlarmRule": {"Fn::Sub": 'ALARM("${A}") AND (ALARM("${B}") OR OK("${C}"))'}}
    states = {"A": ALARM, "B": OK, "C": OK}

    assert composite_state(rule, states) == ALARM
    assert composite_state(rule, {**states, "C": INSUFFICIENT}) == OK
    assert composite_state(rule, {**states, "A": OK}) == OK
