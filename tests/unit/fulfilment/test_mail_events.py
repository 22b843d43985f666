"""A mail that bounces and is sent again, from SES's event to the partner's webhook."""

from __future__ import annotations

from support.partners import CALLER
from support.scenarios import Day


def test_a_bounce_and_a_resend() -> None:
    """The partner learns by event and by webhook that a mail bounced, and that it was sent to a corrected address."""
    day = Day()
    day.begin()
    day.world.run()
    name = day.bounce_and_resend()
    on_bus, posted = day.seen_of_mails(CALLER.partner)
    letters = [mail for mail in day.world.mails if mail["Destination"] == {"ToAddresses": ["ann@example.org"]}]

    assert on_bus == posted
    assert [(event["type"], event["sequence"], event["data"]["mail"]) for event in posted] == [
        (
            "ordering.training_order.mail_bounced",
            1,
            {"number": 1, "to": "ann@example.com", "reason": "it cannot be delivered (Permanent, General)"},
        ),
        ("ordering.training_order.mail_sent_again", 2, {"number": 1, "to": "ann@example.org", "reason": None}),
    ]
    assert {f"training#{event['data']['order']['id']}" for event in posted} == {name}
    assert len(letters) == 1
    assert not any(day.world.queues.values())
    assert day.dead == 0
