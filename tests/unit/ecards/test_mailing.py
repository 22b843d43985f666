"""When the certificates of an e-card order are mailed, and what becomes of certificates in transit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from unittest import mock

import pytest

from ordering.aws.calls import CallRefused, NotExecuted
from ordering.aws.ses import NotSent, Unsure
from ordering.clock import Deadline
from ordering.ecards import mailing
from ordering.ecards.certificates import Stock, read_stock_levels
from ordering.ecards.mailing import EcardMailer
from ordering.ecards.records import KIND, EcardOrder
from ordering.errors import Conflict, Unavailable
from ordering.mail.mailing import ONE_MAIL, OutOfTime
from ordering.mail.outbox import UNSURE, Mail, MailEventType, MailInFlight, MailState
from support.aws.faults import Crash, interrupted, refused
from support.ecards import COMPANY, HUNDRED, Rewards, card, order_id, services_over
from support.mailing import START, Mailroom

ECARDS = f"ecards#granite#{order_id(1)}"
AT_ONCE = 2


class Post(Mailroom):
    """A mailer of certificates, and the orders of a company."""

    kind = KIND

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rewards = Rewards(services_over(self.faulty, self.clock, self.kms), COMPANY)

    def mailer(self) -> EcardMailer:
        return EcardMailer(self.table, self.outbox, self.sealer(), self.deadline, self.clock)

    def ready(self, quantity: int = 5) -> None:
        """Place an order and assign its certificates."""
        self.rewards.publish()
        self.rewards.top_up(100 * quantity)
        self.rewards.load(quantity)
        self.rewards.place(
            1, card(quantity=quantity), participant={"email": "j@example.com", "name": "J", "phone": "1"}
        )
        self.rewards.orders.advance(order_id(1))

    @property
    def order(self) -> EcardOrder:
        return self.rewards.orders.order(order_id(1))

    @property
    def progress(self) -> tuple[str, int, int]:
        order = self.order
        return str(order.status), order.delivered, order.in_transit

    @property
    def free(self) -> int:
        return read_stock_levels(self.table, [HUNDRED])[HUNDRED].count

    @property
    def codes(self) -> list[list[str]]:
        """The codes in each mail that SES accepted."""
        return [re.findall(r"^b1-\d+$", letter.text, re.MULTILINE) for letter in self.ses.letters]

    def mail(self, order: str = ECARDS, number: int = 1) -> Mail:
        return super().mail(order, number)


@pytest.fixture
def post() -> Iterator[Post]:
    """A mailer with two certificates in each mail."""
    with mock.patch.object(mailing, "CERTIFICATES_AT_MOST", AT_ONCE):
        yield Post()


@pytest.mark.parametrize("order", [f"ecards#unknown#{order_id(1)}", "ecards#granite#x", "ecards#x"])
def test_no_order(post: Post, order: str) -> None:
    """A message about an order that does not exist is done without a mail."""
    post.deliver(order)

    assert post.ses.taken == []


def test_malformed_names(post: Post) -> None:
    """A name that no e-card order can have raises."""
    with pytest.raises(ValueError, match="'ecards' does not name an e-card order"):
        post.deliver("ecards")


def test_certificates_are_mailed(post: Post) -> None:
    """All certificates are mailed to the participant in several mails, each of which delivers its certificates."""
    post.ready(5)
    post.deliver(ECARDS)

    assert post.codes == [["b1-0", "b1-1"], ["b1-2", "b1-3"], ["b1-4"]]
    assert {letter.to for letter in post.ses.letters} == {"j@example.com"}
    assert post.progress == ("Delivered", 5, 0)
    assert [str(moment.status) for moment in post.order.state.history] == [
        "Payed",
        "ReadyForDelivery",
        "PartiallyDelivered",
        "Delivered",
    ]
    assert [(mail.number, mail.contents) for mail in post.outbox.mails(ECARDS)] == [(1, 2), (3, 2), (5, 1)]
    assert "Certificates 3 to 4 of 5" in post.ses.letters[1].text


def test_several_stocks_in_one_mail(post: Post) -> None:
    """One mail can have certificates of several cards, in the order of delivery."""
    post.rewards.publish()
    post.rewards.top_up(2_000)
    gift = Stock(2, "500 ₽")
    post.rewards.load(1)
    post.rewards.load(2, gift, "b2")
    post.rewards.place(1, card(), card(2, "500 ₽", 2))
    post.rewards.orders.advance(order_id(1))
    post.deliver(ECARDS)

    assert [re.findall(r"^b\d-\d$", letter.text, re.MULTILINE) for letter in post.ses.letters] == [
        ["b1-0", "b2-0"],
        ["b2-1"],
    ]


def test_the_same_message_again(post: Post) -> None:
    """A duplicate message after everything is sent changes nothing."""
    post.ready(3)
    for _ in range(3):
        post.deliver(ECARDS)

    assert (len(post.ses.taken), post.progress) == (2, ("Delivered", 3, 0))


def test_not_ready(post: Post) -> None:
    """Nothing is mailed for an order that is cancelled or has no certificates assigned."""
    post.rewards.publish()
    post.rewards.place(1)
    post.deliver(ECARDS)
    post.rewards.orders.cancel(order_id(1))
    post.deliver(ECARDS)

    assert post.ses.taken == []


def test_some_handed_over_by_hand(post: Post) -> None:
    """Mails go on after the certificates that support delivered by hand."""
    post.ready(3)
    post.rewards.orders.hand_over(post.order, 1)
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-1", "b1-2"]], ("Delivered", 3, 0))


def test_out_of_time(post: Post) -> None:
    """Without time for one more mail the message must be retried, and no mail is claimed."""
    post.ready(3)
    post.deadline = Deadline.after(ONE_MAIL - 1)
    with pytest.raises(OutOfTime):
        post.deliver(ECARDS)
    assert (post.progress, post.ses.taken) == (("ReadyForDelivery", 0, 0), [])
    post.rewards.orders.begin_hand_over(post.order, 2)
    with pytest.raises(OutOfTime):
        post.deliver(ECARDS)

    assert post.mail().version == 0


def test_no_time_is_needed_for_nothing(post: Post) -> None:
    """A message that requires nothing succeeds however little time is left."""
    post.ready(1)
    post.deliver(ECARDS)
    post.deadline = Deadline.after(0)
    post.deliver(ECARDS)

    assert len(post.ses.taken) == 1


def test_goes_on_in_the_next_invocation(post: Post) -> None:
    """A retry continues with the first mail of an order that was not sent."""
    post.ready(5)
    post.ses.meet(None, NotExecuted())
    with pytest.raises(NotSent):
        post.deliver(ECARDS)
    assert post.progress == ("PartiallyDelivered", 2, 2)
    post.deliver(ECARDS)

    assert (len(post.ses.taken), post.progress) == (3, ("Delivered", 5, 0))


def test_unsure(post: Post) -> None:
    """Certificates of a mail that may have been sent stay in transit, and later mails wait for its outcome."""
    post.ready(3)
    post.ses.meet(Unavailable(), taken=True)
    with pytest.raises(Unsure):
        post.deliver(ECARDS)
    with pytest.raises(MailInFlight):
        post.deliver(ECARDS)
    assert (post.progress, len(post.ses.taken)) == (("ReadyForDelivery", 0, 2), 1)
    post.outbox.report(post.ses.taken[0].told, MailEventType.SENT, "", START)
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-0", "b1-1"], ["b1-2"]], ("Delivered", 3, 0))


def test_refused_certificates(post: Post) -> None:
    """If SES refuses a mail, its certificates are no longer in transit, and only an operator's request sends it."""
    post.ready(3)
    post.refuse()
    post.deliver(ECARDS)
    version = post.order.state.version
    post.deliver(ECARDS)
    assert (post.progress, post.order.state.version) == (("ReadyForDelivery", 0, 0), version)
    post.outbox.again(ECARDS, 1)
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-0", "b1-1"], ["b1-2"]], ("Delivered", 3, 0))


def test_refused_later(post: Post) -> None:
    """A mail that SES refuses leaves earlier ones delivered and its own and later certificates undelivered."""
    post.ready(5)
    post.ses.meet(None, CallRefused("SendEmail", "MessageRejected"))
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-0", "b1-1"]], ("PartiallyDelivered", 2, 0))


def test_refused_after_one_that_may_be_out(post: Post) -> None:
    """Certificates of a refused mail that an earlier attempt may have sent stay in transit until SES's event."""
    post.ready(2)
    post.ses.meet(Unavailable(), taken=True)
    with pytest.raises(Unsure):
        post.deliver(ECARDS)
    post.later(UNSURE)
    post.refuse()
    for _ in range(2):
        with pytest.raises(MailInFlight):
            post.deliver(ECARDS)
    assert post.progress == ("ReadyForDelivery", 0, 2)
    post.outbox.report(post.ses.taken[0].told, MailEventType.DELIVERED, "", post.now)
    post.deliver(ECARDS)

    assert (len(post.ses.taken), post.progress) == (1, ("Delivered", 2, 0))


# Cancelled during the mail -------------------------------------------------------------------------------------------


def test_cancelled_before_it_is_sent(post: Post) -> None:
    """A mail of an order that is cancelled before the attempt is not sent, and all certificates return to stock."""
    post.ready(3)
    post.ses.meet(NotExecuted())
    with pytest.raises(NotSent):
        post.deliver(ECARDS)
    post.rewards.orders.cancel(order_id(1))
    assert (post.free, post.progress) == (1, ("Cancelled", 0, 2))
    post.deliver(ECARDS)

    assert (post.free, post.progress, post.ses.taken) == (3, ("Cancelled", 0, 0), [])


@pytest.mark.parametrize("operation", ["TransactWriteItems", "PutItem"])
def test_cancelled_while_it_is_sent(post: Post, operation: str) -> None:
    """If the order is cancelled during the mail, certificates that were sent count as delivered; others return."""
    post.ready(3)
    after = (
        1 if operation == "TransactWriteItems" else 0
    )  # the claim of the mail, which follows that of the order, or the mark
    post.faulty.meet(operation, interrupted(lambda: post.rewards.orders.cancel(order_id(1))), after=after)
    post.deliver(ECARDS)

    sent = operation == "PutItem"
    assert (len(post.ses.taken), post.free, post.progress) == (
        (1, 1, ("Cancelled", 2, 0)) if sent else (0, 3, ("Cancelled", 0, 0))
    )


def test_cancelled_and_refused(post: Post) -> None:
    """Certificates of a refused mail return to stock if the order is cancelled at the same time."""
    post.ready(3)
    post.refuse()
    # The third transaction records the refusal, after those that begin the hand-over and claim the mail.
    cancel = interrupted(lambda: post.rewards.orders.cancel(order_id(1)))
    post.faulty.meet("TransactWriteItems", cancel, after=2)
    post.deliver(ECARDS)

    assert (post.free, post.progress, post.mail().state) == (3, ("Cancelled", 0, 0), MailState.REFUSED)


def test_cancelled_while_it_is_unsure(post: Post) -> None:
    """Certificates of a cancelled order that may have been mailed never return to stock."""
    post.ready(3)
    post.ses.meet(Unavailable(), taken=True)
    with pytest.raises(Unsure):
        post.deliver(ECARDS)
    post.rewards.orders.cancel(order_id(1))
    with pytest.raises(MailInFlight):
        post.deliver(ECARDS)
    post.later(UNSURE)
    post.deliver(ECARDS)
    assert (post.free, post.progress, len(post.ses.taken)) == (1, ("Cancelled", 0, 2), 1)
    post.outbox.report(post.ses.taken[0].told, MailEventType.SENT, "", post.now)
    post.deliver(ECARDS)

    assert (post.free, post.progress, len(post.ses.taken)) == (1, ("Cancelled", 2, 0), 1)


def test_no_hand_over_while_some_are_in_transit(post: Post) -> None:
    """Support cannot deliver certificates by hand while some are in transit."""
    post.ready(3)
    post.ses.meet(NotExecuted())
    with pytest.raises(NotSent):
        post.deliver(ECARDS)

    with pytest.raises(Conflict, match="2 certificates in transit"):
        post.rewards.orders.hand_over(post.order, 1)


# Once more -----------------------------------------------------------------------------------------------------------


def test_certificates_once_more(post: Post) -> None:
    """A mail that an operator sends again has the same certificates and leaves the order unchanged."""
    post.ready(5)
    post.deliver(ECARDS)
    before = post.order
    post.outbox.again(ECARDS, 3, force=True)
    for _ in range(2):
        post.deliver(ECARDS)

    assert post.codes[3:] == [["b1-2", "b1-3"]]
    assert post.order == before


def test_once_more_and_refused(post: Post) -> None:
    """If SES refuses one repeated mail, other repeated mails are still sent."""
    post.ready(5)
    post.deliver(ECARDS)
    for number in (1, 5):
        post.outbox.again(ECARDS, number, force=True)
    post.refuse()
    post.deliver(ECARDS)

    assert post.codes[3:] == [["b1-4"]]
    assert (post.mail().state, post.mail(number=5).state) == (MailState.REFUSED, MailState.SENT)


def test_not_once_more_when_cancelled(post: Post) -> None:
    """After a cancellation, mails that an operator requested are not sent."""
    post.ready(3)
    post.ses.meet(None, CallRefused("SendEmail", "MessageRejected"))
    post.deliver(ECARDS)
    post.outbox.again(ECARDS, 1, force=True)
    post.outbox.again(ECARDS, 3)
    post.rewards.orders.cancel(order_id(1))
    post.deliver(ECARDS)

    assert (len(post.ses.taken), post.free) == (1, 1)


def test_once_more_after_some_were_delivered_by_hand(post: Post) -> None:
    """A repeated mail waits until all its certificates are delivered, if some were delivered by hand."""
    post.ready(3)
    post.refuse()
    post.deliver(ECARDS)
    post.rewards.orders.hand_over(post.order, 1)
    post.outbox.again(ECARDS, 1)
    post.ses.meet(NotExecuted())
    with pytest.raises(NotSent):
        post.deliver(ECARDS)
    assert post.codes == []
    post.deliver(ECARDS)

    assert post.codes == [["b1-1", "b1-2"], ["b1-0", "b1-1"]]


def test_killed_after_the_claim_of_the_order(post: Post) -> None:
    """After a crash while certificates are in transit, the retry mails exactly these."""
    post.ready(3)
    post.faulty.meet("TransactWriteItems", refused(Crash()), after=1)
    with pytest.raises(Crash):
        post.deliver(ECARDS)
    assert post.progress == ("ReadyForDelivery", 0, 2)
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-0", "b1-1"], ["b1-2"]], ("Delivered", 3, 0))


def test_two_consumers_at_once(post: Post) -> None:
    """If two consumers handle the same message, each mail is sent once."""
    post.ready(5)
    post.faulty.meet("TransactWriteItems", interrupted(lambda: post.deliver(ECARDS)))
    post.deliver(ECARDS)

    assert (post.codes, post.progress) == ([["b1-0", "b1-1"], ["b1-2", "b1-3"], ["b1-4"]], ("Delivered", 5, 0))
