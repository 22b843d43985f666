"""What mails say, as text and as HTML: the access keys of a training order, the certificates of an e-card order.

What partners write into orders stands in these mails, so all of it is escaped in HTML, and is one line everywhere. Both
forms say the same; where both are too large together, the text goes alone. The HTML needs no style sheet, no script and
no picture, and fits a phone's width.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ordering.aws.ses import Letter
from ordering.ecards.certificates import Certificate
from ordering.ecards.records import EcardOrder
from ordering.training.access_keys import IssuedKey
from ordering.training.orders import OrderLine, TrainingOrder

KEYS_AT_MOST = 20_000
"""Keys in one mail: it must be opened by whoever gets it."""

BYTES_AT_MOST = 7 * 1024 * 1024
"""Bytes of both forms of a mail: encoded for its way it has a third more, and SES counts 10 MB of that."""

_FEEDBACK = "Leave feedback"

_PAGE = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n</head>\n'
    '<body style="margin:0 auto;padding:16px;max-width:640px;font:16px/1.5 sans-serif;overflow-wrap:anywhere">\n'
    "{body}\n</body>\n</html>\n"
)
_CODES = '<pre style="font:15px/1.6 monospace;white-space:pre-wrap">{codes}</pre>'

# What could turn a line's direction, and so what it seems to say.
_TURNS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True, slots=True)
class _Heading:
    text: str

    def as_text(self) -> str:
        return f"{self.text}\n{'=' * len(self.text)}\n"

    def as_html(self) -> str:
        return f'<h1 style="font-size:22px">{html.escape(self.text)}</h1>'


@dataclass(frozen=True, slots=True)
class _Section:
    text: str

    def as_text(self) -> str:
        return f"\n{self.text}"

    def as_html(self) -> str:
        return f'<h2 style="font-size:18px;margin:24px 0 0">{html.escape(self.text)}</h2>'


@dataclass(frozen=True, slots=True)
class _Paragraph:
    text: str

    def as_text(self) -> str:
        return self.text

    def as_html(self) -> str:
        return f"<p>{html.escape(self.text)}</p>"


@dataclass(frozen=True, slots=True)
class _Link:
    text: str
    uri: str

    def as_text(self) -> str:
        return f"{self.text}: {self.uri}"

    def as_html(self) -> str:
        return f'<p><a href="{html.escape(self.uri)}">{html.escape(self.text)}</a></p>'


@dataclass(frozen=True, slots=True)
class _Codes:
    codes: Sequence[str]

    def as_text(self) -> str:
        return "\n".join(self.codes)

    def as_html(self) -> str:
        return _CODES.format(codes=html.escape("\n".join(self.codes)))


_Block = _Heading | _Section | _Paragraph | _Link | _Codes


def keys_letter(order: TrainingOrder, lines: Sequence[OrderLine], keys: Iterable[IssuedKey]) -> Letter:
    """Write the mail with an order's access keys, in its lines' and seats' order.

    Args:
        keys: All of them; not looked at where there are more than `KEYS_AT_MOST`.
    """
    seats = sum(line.quantity for line in lines)
    reference = _one_line(order.reference)
    blocks: list[_Block] = [
        _Heading("Your access keys"),
        _Paragraph(f"Order reference: {reference}"),
        _Paragraph(f"Order number: {order.id}"),
    ]
    by_line: dict[int, list[str]] = {line.number: [] for line in lines}
    if seats > KEYS_AT_MOST:
        where = f"GET /api/v2/orders/{order.id}/keys"
        blocks.append(
            _Paragraph(f"All {seats:,} keys are issued. They are too many for a mail; read them with {where}.")
        )
    else:
        for key in keys:
            by_line[key.line].append(key.key)
    for line in lines:
        blocks += _line_blocks(line, by_line[line.number])
    return _letter(order.contact_email, f"Access keys of your order {reference}", blocks)


def certificates_letter(order: EcardOrder, first: int, certificates: Sequence[Certificate]) -> Letter:
    """Write the mail with some of an order's certificates.

    Args:
        first: The rank of the first of them within the order, from 1.
    """
    last = first + len(certificates) - 1
    blocks: list[_Block] = [
        _Heading("Your certificates"),
        _Paragraph(f"Hello {_one_line(order.participant.name)},"),
        _Paragraph(f"Order number: {order.number}"),
    ]
    if len(certificates) < order.quantity:
        blocks.append(_Paragraph(f"Certificates {first:,} to {last:,} of {order.quantity:,}; each mail has others."))
    names = {(line.card_id, line.face_value): line.name for line in order.lines}
    codes: dict[tuple[str, str], list[str]] = {}
    for one in certificates:
        name = names[one.stock.card_id, one.stock.face_value]
        codes.setdefault((_one_line(name), _one_line(one.stock.face_value)), []).append(_one_line(one.code))
    for (name, face_value), shown in codes.items():
        blocks += [_Section(f"{name}, {face_value}"), _Codes(shown)]
    return _letter(order.participant.email, f"Certificates of your order {order.number}", blocks)


def _line_blocks(line: OrderLine, keys: Sequence[str]) -> Iterator[_Block]:
    seats = "1 access key" if line.quantity == 1 else f"{line.quantity:,} access keys"
    yield _Section(f"{_one_line(line.description)}: {seats}")
    if keys:
        yield _Codes(keys)
    if line.enable_feedback_link and line.feedback_link_uri:
        yield _Link(_one_line(line.feedback_link_text or "") or _FEEDBACK, _one_line(line.feedback_link_uri))


def _letter(to: str, subject: str, blocks: Sequence[_Block]) -> Letter:
    text = "\n".join(block.as_text() for block in blocks) + "\n"
    body = "\n".join(block.as_html() for block in blocks)
    page = _PAGE.format(title=html.escape(subject), body=body)
    return Letter(to, subject, text, page if len(text.encode()) + len(page.encode()) <= BYTES_AT_MOST else "")


def _one_line(text: str) -> str:
    """Keep a text from breaking out of its line, and from turning the line around."""
    return " ".join("".join(" " if _is_control(character) else character for character in text).split())


def _is_control(character: str) -> bool:
    return character in _TURNS or ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 or character in "\u2028\u2029"
