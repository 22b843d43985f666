"""CloudWatch without AWS: metrics of log lines, and alarms, as the template declares them.

Alarms are evaluated by https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html, over the
last periods up to a moment. CloudWatch waits some periods longer before it takes data as missing; here it does not.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from operator import eq, ge, gt, le, lt, ne, truediv
from typing import Any

from ordering_tools.template import Template

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"
STACK = "AWS::StackName"
"""The namespace of the stack's own metrics: references are resolved to the parameter's name."""

_API = ("ApiName", "Stage")
_DYNAMODB = ("TableName",)
OF_AWS: dict[tuple[str, str], list[tuple[str, ...]]] = {
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-metrics-and-dimensions.html
    **{("AWS/ApiGateway", name): [("ApiName",), _API] for name in ("4XXError", "5XXError", "Count", "Latency")},
    # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
    **{
        ("AWS/Lambda", name): [(), ("FunctionName",), ("FunctionName", "Resource")]
        for name in ("ConcurrentExecutions", "Duration", "Errors", "Invocations", "Throttles")
    },
    ("AWS/Lambda", "IteratorAge"): [("FunctionName",), ("FunctionName", "Resource")],
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
    **{
        ("AWS/SQS", name): [("QueueName",)]
        for name in ("ApproximateAgeOfOldestMessage", "ApproximateNumberOfMessagesVisible", "NumberOfMessagesSent")
    },
    # https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
    ("AWS/DynamoDB", "SystemErrors"): [("TableName", "Operation")],
    **{
        ("AWS/DynamoDB", name): [_DYNAMODB, (*_DYNAMODB, "GlobalSecondaryIndexName")]
        for name in (
            *("ReadThrottleEvents", "WriteThrottleEvents"),
            *("ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"),
        )
    },
    # https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-cloudwatch.html
    ("AWS/SES", "Reputation.BounceRate"): [()],
    ("AWS/SES", "Reputation.ComplaintRate"): [()],
    # https://docs.aws.amazon.com/waf/latest/developerguide/waf-metrics.html
    ("AWS/WAFV2", "BlockedRequests"): [("WebACL", "Rule", "Region")],
}
"""AWS's metrics by namespace and name, with the sets of dimensions under which each is published."""

OPERATIONS = frozenset(
    {
        *("BatchGetItem", "BatchWriteItem", "DeleteItem", "GetItem", "PutItem", "Query", "Scan", "UpdateItem"),
        *("TransactGetItems", "TransactWriteItems"),
    }
)
"""The values of DynamoDB's dimension `Operation` that items have."""

Dimensions = frozenset[tuple[str, str]]
Name = tuple[str, str, Dimensions]
"""A metric: namespace, name and dimensions."""


@dataclass(frozen=True)
class Sample:
    """Several equal samples of a metric at a moment."""

    at: float
    value: float
    count: int = 1


_STATISTICS: Mapping[str, Callable[[Sequence[Sample]], float]] = {
    "Sum": lambda found: sum(one.value * one.count for one in found),
    "SampleCount": lambda found: sum(one.count for one in found),
    "Average": lambda found: sum(one.value * one.count for one in found) / sum(one.count for one in found),
    "Maximum": lambda found: max(one.value for one in found),
    "Minimum": lambda found: min(one.value for one in found),
}


@dataclass
class Metrics:
    """All metrics of an account."""

    samples: dict[Name, list[Sample]] = field(default_factory=dict)

    def put(self, namespace: str, name: str, dimensions: Mapping[str, str], *samples: Sample) -> None:
        """Add samples."""
        self.samples.setdefault((namespace, name, frozenset(dimensions.items())), []).extend(samples)

    def put_of_aws(self, namespace: str, name: str, dimensions: Mapping[str, str], *samples: Sample) -> None:
        """Add samples of a metric that AWS publishes."""
        assert known(namespace, name, dimensions), f"{namespace} has no {name} by {', '.join(dimensions) or 'nothing'}"
        self.put(namespace, name, dimensions, *samples)

    def read(self, template: Template, group: str, line: str, at: float, times: int = 1) -> None:
        """Add what a line of a log group publishes: by the filters of the group, and in the embedded metric format."""
        content = json.loads(line)
        for _, filter_ in template.resources("AWS::Logs::MetricFilter"):
            if filter_["LogGroupName"] == group and fits(filter_["FilterPattern"], content):
                for one in filter_["MetricTransformations"]:
                    value = one["MetricValue"]
                    number = content[value[2:]] if value.startswith("$.") else float(value)
                    assert isinstance(number, int | float), f"{value} is no number: {number!r}"
                    self.put(one["MetricNamespace"], one["MetricName"], {}, Sample(at, number, times))
        self.read_embedded(content, at)

    def read_embedded(self, content: Mapping[str, Any], at: float) -> None:
        """Add what a line publishes in the embedded metric format."""
        for directive in content.get("_aws", {}).get("CloudWatchMetrics", []):
            for dimensions in directive["Dimensions"]:
                by = {name: str(content[name]) for name in dimensions}
                for metric in directive["Metrics"]:
                    values = content[metric["Name"]]
                    for value in values if isinstance(values, list) else [values]:
                        self.put(STACK, metric["Name"], by, Sample(at, value))

    def value(self, name: Name, statistic: str, begin: float, end: float) -> float | None:
        """Return a statistic of the samples after `begin` and up to `end`; None without samples."""
        found = [one for one in self.samples.get(name, []) if begin < one.at <= end]
        if not found:
            return None
        if statistic in _STATISTICS:
            return _STATISTICS[statistic](found)
        assert re.fullmatch(r"p\d+(\.\d+)?", statistic), f"{statistic} is no statistic"
        values = sorted(one.value for one in found for _ in range(one.count))
        return values[max(math.ceil(float(statistic[1:]) / 100 * len(values)) - 1, 0)]


def known(namespace: str, name: str, dimensions: Mapping[str, str]) -> bool:
    """Whether AWS publishes a metric by these dimensions."""
    return (
        any({*dimensions} == {*one} for one in OF_AWS.get((namespace, name), []))
        and dimensions.get("Operation", "GetItem") in OPERATIONS
    )


_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: eq,
    ast.NotEq: ne,
    ast.Lt: lt,
    ast.LtE: le,
    ast.Gt: gt,
    ast.GtE: ge,
}


def fits(pattern: str, content: Mapping[str, Any]) -> bool:
    """Whether a line of JSON fits a filter pattern `{ … }` of CloudWatch Logs."""
    assert pattern.startswith("{ "), f"not a pattern for JSON: {pattern}"
    text = pattern.strip("{} ").replace("$.", "").replace("&&", " and ").replace("||", " or ")
    return _fits(ast.parse(re.sub(r" = ", " == ", text), mode="eval").body, content)


def _fits(node: ast.expr, content: Mapping[str, Any]) -> bool:
    if isinstance(node, ast.BoolOp):
        return (all if isinstance(node.op, ast.And) else any)(_fits(one, content) for one in node.values)
    assert isinstance(node, ast.Compare)
    assert isinstance(node.left, ast.Name)
    (right,) = node.comparators
    assert isinstance(right, ast.Constant)
    found, wanted = content.get(node.left.id), right.value
    if found is None or isinstance(found, str) is not isinstance(wanted, str):
        return False
    if isinstance(wanted, str):
        assert isinstance(node.ops[0], ast.Eq | ast.NotEq)
        return fnmatchcase(found, wanted) is isinstance(node.ops[0], ast.Eq)
    return _COMPARISONS[type(node.ops[0])](found, wanted)


_BREACHES: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanThreshold": gt,
    "GreaterThanOrEqualToThreshold": ge,
    "LessThanThreshold": lt,
    "LessThanOrEqualToThreshold": le,
}


def metrics_of(alarm: Mapping[str, Any]) -> Iterator[Name]:
    """Yield the metrics of an alarm."""
    for one in _queries(alarm):
        if "Metric" in one:
            yield _name(one["Metric"])


def state(alarm: Mapping[str, Any], metrics: Metrics, at: float, before: str = INSUFFICIENT) -> str:
    """Return the state of a metric alarm at a moment."""
    queries = _queries(alarm)
    period = next(one["Period"] for one in queries if "Metric" in one)
    assert {one["Period"] for one in queries if "Metric" in one} == {period}, "metrics of an alarm have one period"
    count = alarm["EvaluationPeriods"]
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    assert period * count <= (7 * 86_400 if period >= 3600 else 86_400), "CloudWatch evaluates no longer range"
    values = [_point(queries, metrics, at - index * period, period) for index in range(count)]
    missing = alarm.get("TreatMissingData", "missing")
    if all(value is None for value in values) and missing in ("missing", "ignore"):
        return INSUFFICIENT if missing == "missing" else before
    breaches = _BREACHES[alarm["ComparisonOperator"]]
    breaching = [missing == "breaching" if one is None else breaches(one, alarm["Threshold"]) for one in values]
    return ALARM if sum(breaching) >= alarm.get("DatapointsToAlarm", count) else OK


def _queries(alarm: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "Metrics" not in alarm:
        stat = alarm.get("ExtendedStatistic") or alarm["Statistic"]
        return [{"Id": "m", "Metric": alarm, "Stat": stat, "Period": alarm["Period"]}]
    assert len(alarm["Metrics"]) <= 11, "CloudWatch takes ten metrics and their expression"
    assert len([one for one in alarm["Metrics"] if one.get("ReturnData", True)]) == 1, "one query must be the alarm's"
    return [{**one, **one.get("MetricStat", {})} for one in alarm["Metrics"]]


def _name(metric: Mapping[str, Any]) -> Name:
    dimensions = frozenset((one["Name"], _text(one["Value"])) for one in metric.get("Dimensions", []))
    return metric["Namespace"], metric["MetricName"], dimensions


def _text(value: Any) -> str:
    return value["Fn::GetAtt"][0] if isinstance(value, Mapping) else str(value)


def _point(queries: Sequence[Mapping[str, Any]], metrics: Metrics, end: float, period: float) -> float | None:
    values = {
        one["Id"]: metrics.value(_name(one["Metric"]), one["Stat"], end - period, end)
        for one in queries
        if "Metric" in one
    }
    (result,) = [one for one in queries if one.get("ReturnData", True)]
    if "Metric" in result:
        return values[result["Id"]]
    found: float | list[float] | None = _calculate(ast.parse(result["Expression"], mode="eval").body, values)
    assert not isinstance(found, list), "an alarm is about one series"
    return found


def _calculate(node: ast.expr, values: Mapping[str, float | None]) -> Any:
    """Calculate an expression of metric maths for one period; None is missing data."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return values[name]
        case ast.Call(func=ast.Name(id="METRICS"), args=[]):
            return [*values.values()]
        case ast.Call(func=ast.Name(id=name)) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_calculate(one, values) for one in node.args))
        case ast.Compare(left=left, ops=[operator], comparators=[right]):
            return _of_both(_COMPARISONS[type(operator)], _calculate(left, values), _calculate(right, values))
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return _of_both(truediv, _calculate(left, values), _calculate(right, values) or None)
    raise AssertionError(f"not evaluated here: {ast.unparse(node)}")


def _of_both(operator: Callable[[Any, Any], Any], one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else float(operator(one, other))


def _fill(series: Any, number: float) -> Any:
    if isinstance(series, list):
        return [number if one is None else one for one in series]
    return number if series is None else series


_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "FILL": _fill,
    "SUM": lambda series: None if None in series else sum(series),
    "IF": lambda condition, yes, no: None if condition is None else yes if condition else no,
}


def parts_of(composite: Mapping[str, Any]) -> set[str]:
    """Return the alarms that a composite alarm names."""
    return {*re.findall(r'ALARM\("\$\{(\w+)\}"\)', composite["AlarmRule"]["Fn::Sub"])}


def composite_state(composite: Mapping[str, Any], states: Mapping[str, str]) -> str:
    """Return the state of a composite alarm by the states of the alarms that it names."""
    rule = composite["AlarmRule"]["Fn::Sub"].replace(" AND ", " and ").replace(" OR ", " or ")
    return ALARM if _holds(ast.parse(f"({rule})", mode="eval").body, states) else OK


def _holds(node: ast.expr, states: Mapping[str, str]) -> bool:
    if isinstance(node, ast.BoolOp):
        return (all if isinstance(node.op, ast.And) else any)(_holds(one, states) for one in node.values)
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    (name,) = node.args
    assert isinstance(name, ast.Constant)
    return states[str(name.value)[2:-1]] == node.func.id


def states(template: Template, metrics: Metrics, at: float, before: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the state of each alarm of a template at a moment."""
    before = before or {}
    found = {
        name: state(alarm, metrics, at, before.get(name, INSUFFICIENT))
        for name, alarm in template.resources("AWS::CloudWatch::Alarm")
    }
    composites = template.resources("AWS::CloudWatch::CompositeAlarm")
    return found | {name: composite_state(one, found) for name, one in composites}


def every_minute(at: float, minutes: int, *values: tuple[float, int]) -> Iterable[Sample]:
    """Yield samples for each of the minutes up to a moment: values with their counts."""
    return (Sample(at - 60 * minute, value, count) for minute in range(minutes) for value, count in values)
