"""The webhook services, built from the settings that the functions have."""

from __future__ import annotations

from pathlib import Path

import pytest

from ordering.aws.connections import Connections
from ordering.aws.sqs import no_queue
from ordering.clock import Deadline
from ordering.errors import NotFound
from ordering.webhooks.services import WebhookServices
from ordering_tools.template import Template
from support.aws.memory import Memory

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("function", ["WebhooksFunction", "WebhookDeliveryFunction"])
def test_declared_settings_are_enough(function: str) -> None:
    """The function's own environment variables suffice to enable a webhook and read parked events."""
    declared = Template.load(ROOT / "template.yaml").document["Resources"][function]["Properties"]["Environment"]
    settings = dict.fromkeys(declared["Variables"], "a-name")
    services = WebhookServices(Connections(settings, Memory(), open_queue=lambda _: no_queue))

    with pytest.raises(NotFound):
        services.deliverer(Deadline.after(60)).enable("northwind", "0123456789abcdef")
    with pytest.raises(NotFound):
        services.deliverer(Deadline.after(60)).parked("northwind", "0123456789abcdef", 10, "")
