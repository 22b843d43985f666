"""The mails with the certificates of an e-card order."""

from __future__ import annotations

from collections.abc import Sequence

from ordering.aws.ses import Letter
from ordering.ecards.certificates import Certificate
from ordering.ecards.records import EcardOrder
from ordering.mail.letters import Block, Codes, Heading, Paragraph, Section, letter, one_line


def certificates_letter(order: EcardOrder, first: int, certificates: Sequence[Certificate]) -> Letter:
    """Return the letter with some of an order's certificates.

    Args:
        first: The rank of the first certificate within the order, from 1.
    """
    last = first + len(certificates) - 1
    blocks: list[Block] = [
        Heading("Your certificates"),
        Paragraph(f"Hello {one_line(order.participant.name)},"),
        Paragraph(f"Order number: {order.number}"),
    ]
    if len(certificates) < order.quantity:
        part = f"Certificates {first:,} to {last:,} of {order.quantity:,}"
        blocks.append(Paragraph(f"{part}. The others are in separate emails."))
    names = {(line.card_id, line.face_value): line.name for line in order.lines}
    codes: dict[tuple[str, str], list[str]] = {}
    for one in certificates:
        name = names[one.stock.card_id, one.stock.face_value]
        codes.setdefault((one_line(name), one_line(one.stock.face_value)), []).append(one_line(one.code))
    for (name, face_value), shown in codes.items():
        blocks += [Section(f"{name}, {face_value}"), Codes(shown)]
    return letter(order.participant.email, f"Certificates of your order {order.number}", blocks)
