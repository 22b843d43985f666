"""The figures of docs/limits.md are those of the template, of the code and of docs/cost.md."""

from __future__ import annotations

import re

from ordering.events.history import LINES_AT_MOST
from ordering.web.http import LARGEST_BODY
from ordering.webhooks.slots import SLOTS
from ordering_tools.template import Template
from support.gateway import ROOT

PAGE = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
RESOURCES = Template.load(ROOT / "template.yaml").document["Resources"]


def properties(function: str, event: str) -> dict[str, object]:
    found: dict[str, object] = RESOURCES[function]["Properties"]["Events"][event]["Properties"]
    return found


def test_arithmetic() -> None:
    """Each quotient and product on the page is right, to the two digits that it is rounded to."""
    wrong = []
    for one, sign, other, result in re.findall(r"([\d,]+) (÷|×) ([\d.,]+)(?: s)? = ([\d,]+)", PAGE):  # noqa: RUF001 - the signs of the page
        a, b, said = (float(text.replace(",", "")) for text in (one, other, result))
        if abs((a / b if sign == "÷" else a * b) - said) > 0.05 * said:
            wrong.append(f"{one} {sign} {other} = {result}")

    assert len(re.findall(" = ", PAGE)) > 10
    assert wrong == []


def test_times_are_those_of_the_cost_page() -> None:
    """The seconds of a list and of a training order are those in docs/cost.md."""
    cost = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8").partition("## What each call uses")[2]
    rows = re.findall(r"^\| ([^|]+) \| [\d.]+ \| ([\d,]+) \|", cost, re.MULTILINE)
    times = {row: float(ms) / 1_000 for row, ms in rows}

    assert f"÷ {times['training: a list of 10']:.3f} s" in PAGE
    assert f"÷ {times['training: create, keys mailed, a webhook']:.3f} s" in PAGE


def test_knobs() -> None:
    """The concurrencies and sizes on the page are those of the template and the code."""
    mails = properties("MailsFunction", "Wanted")["ScalingConfig"]
    deliveries = properties("WebhookDeliveryFunction", "Signalled")["ScalingConfig"]

    assert (mails, deliveries) == ({"MaximumConcurrency": 5}, {"MaximumConcurrency": 50})
    assert "`MailQueue` at 5 executions and `WebhookQueue` at 50" in PAGE
    assert properties("StreamFunction", "Changed")["ParallelizationFactor"] == 10
    assert (LARGEST_BODY, LINES_AT_MOST, SLOTS) == (1_048_576, 160 * 1024, 5)
