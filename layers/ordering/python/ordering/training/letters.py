"""The mail with the access keys of a training order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ordering.aws.ses import Letter
from ordering.mail.letters import Block, Codes, Heading, Link, Paragraph, Section, letter, one_line
from ordering.training.access_keys import IssuedKey
from ordering.training.orders import OrderLine, TrainingOrder

KEYS_AT_MOST = 20_000
"""Keys in one mail, so that its recipient can open it."""

_FEEDBACK = "Leave feedback"


def keys_letter(order: TrainingOrder, lines: Sequence[OrderLine], keys: Iterable[IssuedKey]) -> Letter:
    """Return the letter with an order's access keys, in the order of its lines and seats.

    Args:
        keys: All of them; not read if there are more than `KEYS_AT_MOST`.
    """
    seats = sum(line.quantity for line in lines)
    reference = one_line(order.reference)
    blocks: list[Block] = [
        Heading("Your access keys"),
        Paragraph(f"Order reference: {reference}"),
        Paragraph(f"Order number: {order.id}"),
    ]
    by_line: dict[int, list[str]] = {line.number: [] for line in lines}
    if seats > KEYS_AT_MOST:
        request = f"GET /api/v2/orders/{order.id}/keys"
        blocks.append(Paragraph(f"All {seats:,} keys are issued, too many for one email. Read them with {request}."))
    else:
        for key in keys:
            by_line[key.line].append(key.key)
    for line in lines:
        blocks += _line_blocks(line, by_line[line.number])
    return letter(order.contact_email, f"Access keys of your order {reference}", blocks)


def _line_blocks(line: OrderLine, keys: Sequence[str]) -> Iterator[Block]:
    seats = "1 access key" if line.quantity == 1 else f"{line.quantity:,} access keys"
    yield Section(f"{one_line(line.description)}: {seats}")
    if keys:
        yield Codes(keys)
    if line.enable_feedback_link and line.feedback_link_uri:
        yield Link(one_line(line.feedback_link_text or "") or _FEEDBACK, one_line(line.feedback_link_uri))
