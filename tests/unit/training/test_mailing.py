"""When the access keys of a training order are mailed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest

from ordering.clock import Deadline
from ordering.errors import Unavailable
from ordering.mail.mailing import ONE_MAIL, OutOfTime
from ordering.mail.outbox import MailState
from ordering.training import mailing
from ordering.training.mailing import TrainingMailer
from ordering.training.orders import KIND
from support.mailing import Mailroom
from support.orders import new_item, new_order, publish, target
from support.partners import AZ_300, PARTNER, STANDARD, UK
from support.training import School


class Post(Mailroom):
    """A mailer of access keys, and the orders of a business unit."""

    kind = KIND

    def __post_init__(self) -> None:
        super().__post_init__()
        self.school = School(self.faulty, self.kms, self.clock)

    def mailer(self) -> TrainingMailer:
        return TrainingMailer(self.table, self.outbox, self.school.sealer, self.deadline)

    def place(self, *quantities: int, email_keys: bool = True, issue: bool = True) -> str:
        """Place an order whose keys are to be mailed; returns its name."""
        publish(self.school.services, UK, [(AZ_300, [STANDARD])])
        self.school.services.accounts(Deadline.after(60)).save_partner(PARTNER)
        items = [new_item(quantity=quantity) for quantity in quantities]
        body = new_order(orderItems=items, emailKeys=email_keys, contactEmail="ann@example.com")
        number: int = self.school.client.post(target("orders"), body).json["id"]
        if issue:
            self.school.issue(number)
        return f"training#{number}"


@pytest.fixture
def post() -> Post:
    return Post()


def keys_shown(post: Post, order: str, texts: Sequence[str]) -> bool:
    """Whether the texts have all keys of an order, in order."""
    keys = [key for _, _, key in post.school.keys(int(order.partition("#")[2]))]
    found = re.findall(r"^\w{5}(?:-\w{5}){4}$", "\n".join(texts), re.MULTILINE)
    return found == keys


@pytest.mark.parametrize("order", ["training#99", "training#0"])
def test_no_order(post: Post, order: str) -> None:
    """A message about an order that does not exist succeeds without a mail."""
    post.deliver(order)

    assert post.ses.taken == []


def test_keys_are_mailed(post: Post) -> None:
    """All keys of a completed order are mailed to its contact, once."""
    order = post.place(3, 120)
    for _ in range(2):
        post.deliver(order)

    (letter,) = post.ses.letters
    assert letter.to == "ann@example.com"
    assert keys_shown(post, order, [letter.text])
    assert (post.mail(order).contents, post.counted) == (123, ["MailsSent"])


def test_keys_not_to_be_mailed(post: Post) -> None:
    """Keys are mailed only if the order asks for it and all of them are issued."""
    post.deliver(post.place(1, email_keys=False))
    unfinished = post.place(1, issue=False)
    post.deliver(unfinished)
    post.school.orders().cancel(int(unfinished.partition("#")[2]))
    post.deliver(unfinished)

    assert post.ses.taken == []


def test_too_many_keys_are_not_decrypted(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """If an order has more keys than fit, none is decrypted, and the mail has the endpoint to read them."""
    monkeypatch.setattr(mailing, "KEYS_AT_MOST", 2)
    order = post.place(3)
    post.kms.calls.clear()
    post.deliver(order)

    (letter,) = post.ses.letters
    assert f"GET /api/v2/orders/{order.partition('#')[2]}/keys" in letter.text
    assert post.kms.calls == []


def test_refused_keys(post: Post) -> None:
    """If SES refuses the mail, the message succeeds without a retry, and an operator's request sends the mail."""
    order = post.place(1)
    post.refuse()
    for _ in range(2):
        post.deliver(order)
    assert (post.mail(order).state, post.ses.taken) == (MailState.REFUSED, [])
    post.outbox.again(order, 1)
    post.deliver(order)

    assert keys_shown(post, order, [post.ses.letters[0].text])
    assert post.counted == ["MailsRefused", "MailsSent"]


def test_kms_unavailable(post: Post) -> None:
    """If KMS does not answer, the message fails for a retry, and the mail is not claimed."""
    order = post.place(1)

    def silent(_: str, __: dict[str, Any]) -> dict[str, Any]:
        raise Unavailable

    post.school.kms = silent  # type: ignore[assignment] # called alike
    with pytest.raises(Unavailable):
        post.deliver(order)
    post.school.kms = post.kms
    post.deliver(order)

    assert len(post.ses.taken) == 1


def test_out_of_time(post: Post) -> None:
    """Without time for one more mail the message fails for a retry, and no mail is claimed."""
    order = post.place(1)
    post.deadline = Deadline.after(ONE_MAIL - 1)
    with pytest.raises(OutOfTime):
        post.deliver(order)

    assert (post.mail(order).version, post.ses.taken) == (0, [])


def test_no_time_is_needed_for_nothing(post: Post) -> None:
    """A message that requires nothing succeeds however little time is left."""
    order = post.place(1)
    post.deliver(order)
    post.deadline = Deadline.after(0)
    post.deliver(order)

    assert len(post.ses.taken) == 1
