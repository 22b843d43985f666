"""Finds orders by what operators are given: a number, a UUID, a reference, an e-mail address, or a deal.

A training order is named by its number, an e-card order by its UUID or as COMPANY/NUMBER, a deal order as
ACCOUNT/NUMBER, and all of them by the names that logs and dead letters have, such as `training#51`.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from ordering.aws.dynamodb import Item, Update
from ordering.book.names import key_of, kind_of, name_of
from ordering.book.orderbook import OrderBook, is_void
from ordering.book.positions import book_of
from ordering.book.search import SearchedBy, is_searchable, make_searchable, search, searchable
from ordering.book.unfinished import add_mark, is_marked, mark
from ordering.deals import orders as deals
from ordering.ecards import records as ecards
from ordering.identifiers import LARGEST_NUMBER
from ordering.identity.accounts import Accounts, Partner
from ordering.mail.outbox import MailState, Outbox, found_by
from ordering.training import orders as training
from ordering.training.statuses import TrainingStatus
from ordering_tools.installation import Installation, NotDone

ORDER = "Its number (51), UUID or reference (PO-4711), or COMPANY/NUMBER, or ACCOUNT/NUMBER of a deal order."
"""The help on arguments that name an order."""

DEALS = "deals"
"""The kind of deal orders, which have no name in the table."""

_NAME = re.compile(r"(training|ecards|deals)#(?:([^#]+)#)?([^#]+)")
_MOST_NAMED = 10
_READ_AT_ONCE = 100
_ORDERS = (SearchedBy.ID, SearchedBy.REFERENCE, SearchedBy.DEAL, SearchedBy.EMAIL)


@dataclass(frozen=True)
class Order:
    """What a list shows of an order of any kind."""

    kind: str
    partner: str
    number: int
    created: datetime
    status: str = ""
    """Empty for a deal order, which has none."""
    id: str = ""
    """The UUID of an e-card order."""
    unit: str = ""
    """The business unit of a training order."""
    reference: str = ""
    email: str = ""
    deal: int | None = None

    @property
    def label(self) -> str:
        """The order as an operator names it: `51` or `granite-rewards/12`."""
        return str(self.number) if self.kind == training.KIND else f"{self.partner}/{self.number}"

    @property
    def name(self) -> str:
        """The order's name; see `book.names`."""
        match self.kind:
            case training.KIND:
                return f"{training.KIND}#{self.number}"
            case ecards.KIND:
                return f"{ecards.KIND}#{self.partner}#{self.id}"
            case _:
                return f"{DEALS}#{self.partner}#{self.number}"

    @property
    def subject(self) -> str:
        """The order in the audit trail."""
        return f"order {self.label}"

    def row(self) -> dict[str, Any]:
        """Return its values for a list, without what its kind does not have."""
        values = {
            "order": self.label,
            "kind": self.kind,
            "partner": self.partner,
            "number": self.number,
            "id": self.id,
            "unit": self.unit,
            "deal": self.deal,
            "status": self.status,
            "reference": self.reference,
            "email": self.email,
            "created": self.created,
        }
        return {name: value for name, value in values.items() if value not in ("", None)}


def order_named(site: Installation, text: str) -> Order:
    """Find the one order that an argument stands for.

    Raises:
        NotDone: There is none, or more than one.
    """
    found = _by_name(site, text) or _by_number(site, text) or _by_partner(site, text)
    if found is None:
        by = (SearchedBy.ID, SearchedBy.REFERENCE)
        several = list(islice(_searched(site, text, by), _MOST_NAMED + 1))
        if len(several) > 1:
            some = ", ".join(one.label for one in several[:_MOST_NAMED])
            more = " and more" if len(several) > _MOST_NAMED else ""
            raise NotDone(f"several orders have the reference '{text}': {some}{more}; name one of them")
        found = several[0] if several else None
    if found is None:
        raise NotDone(f"there is no order '{text}'; see `ordering order find --help`")
    return found


def find_orders(
    site: Installation, text: str, partner: Partner | None = None, since: datetime | None = None
) -> Iterator[Order]:
    """Yield the orders that a text stands for or occurs in, each once: by number first, then newest first.

    Args:
        partner: Only this partner's. With it, numbers of its e-card orders and deal orders are found as well.
    """
    seen = set()
    direct = [_by_name(site, text), _by_number(site, text), _by_partner(site, text)]
    if partner and text.isdecimal():
        direct += _numbered(site, partner, int(text))
    sources = [one for one in direct if one and (since is None or one.created >= since)]
    found = _searched(site, text, _ORDERS, since)
    for order in (*sources, *found):
        if order.name not in seen and (partner is None or order.partner == partner.id):
            seen.add(order.name)
            yield order


def read_named(site: Installation, name: str) -> Order | None:
    """Read an order by its name; None if it does not exist."""
    kind = kind_of(name)
    if kind == DEALS:
        _, account, number = name.split("#")
        return _deal(site, account, int(number))
    item = site.orders.get(key_of(name))
    return summarize(item) if item else None


def orders_of(site: Installation, book: str) -> Iterator[Order]:
    """Yield the orders in a book, newest first."""
    for entry in OrderBook(site.orders, book).newest():
        if order := summarize(entry):
            yield order


def unindexed(site: Installation) -> Iterator[list[Update]]:
    """Yield for each order and refused mail that an index lacks the writes that add it. It reads the whole table."""
    for item in site.orders.scan("ORDER#"):
        order = summarize(item)
        if order and not is_searchable(item):
            yield _found_again(site, item, order)
        if order and not is_marked(item) and (found := _mark_of(order, item)):
            yield [add_mark((item["pk"], item["sk"]), found)]
    for entry in site.orders.scan("BOOK#deals#"):
        if (order := summarize(entry)) and not is_searchable(entry):
            yield [make_searchable((entry["pk"], entry["sk"]), searchable(SearchedBy.DEAL, str(order.deal)))]
    for item in site.orders.scan("MAIL#"):
        if item["state"] == MailState.REFUSED and not is_searchable(item):
            mail = Outbox(site.orders).mail(item["pk"].partition("#")[2], int(item["sk"]))
            yield [make_searchable((item["pk"], item["sk"]), found_by(mail))]


def _mark_of(order: Order, item: Item) -> Item:
    """Return the mark of an order that is unfinished; nothing for others."""
    if order.kind == training.KIND:
        return mark((item["pk"], item["sk"]), order.created) if order.status == TrainingStatus.NEW else {}
    return {} if ecards.is_over(item) and not ecards.in_transit(item) else ecards.mark_of(ecards.read_order(item))


def _found_again(site: Installation, item: Item, order: Order) -> list[Update]:
    """Return the writes that let an order's item and its entry in the book be found."""
    if order.kind == training.KIND:
        book, position = f"{training.KIND}#{item['order']['unit']['id']}", item["order"]["position"]
        found = searchable(SearchedBy.REFERENCE, order.reference, order.created)
    else:
        book, position = f"{ecards.KIND}#{order.partner}", order.number
        found = searchable(SearchedBy.ID, order.id, order.created)
    entry = OrderBook(site.orders, book).entry_key(position)
    parts = [((item["pk"], item["sk"]), found), (entry, searchable(SearchedBy.EMAIL, order.email))]
    return [make_searchable(key, values) for key, values in parts if values]


def summarize(item: Item) -> Order | None:
    """Return the order in an order's item or in its entry in a book; None for a void or something else."""
    key = item["pk"], item["sk"]
    name, book = name_of(key), book_of(item["pk"])
    kind = kind_of(name or book or "")
    if is_void(item) or (book is None and name is None):
        return None
    if kind == training.KIND:
        return _training(training.read_order(item["order"]))
    if kind == ecards.KIND and name:
        order = ecards.read_order(item)
        return _ecards(order.company, order, order.participant.email)
    if kind == ecards.KIND and book:
        return _ecards(book.removeprefix(f"{ecards.KIND}#"), ecards.read_summary(item["order"]))
    if book and (account := deals.account_of(book)) is not None:
        return _of_deal(account, deals.read_order(item))
    return None


def _training(order: training.TrainingOrder) -> Order:
    return Order(
        training.KIND,
        order.partner,
        order.id,
        order.created,
        str(order.status),
        unit=order.business_unit.name,
        reference=order.reference,
        email=order.contact_email,
    )


def _ecards(company: str, order: ecards.EcardOrder | ecards.EcardSummary, email: str = "") -> Order:
    return Order(ecards.KIND, company, order.number, order.created, str(order.status), id=order.id, email=email)


def _of_deal(account: str, order: deals.DealOrder) -> Order:
    return Order(DEALS, account, order.id, order.created, deal=order.deal_id)


def _by_name(site: Installation, text: str) -> Order | None:
    """Find an order by the name that logs have."""
    match = _NAME.fullmatch(text)
    if match is None or (match[1] == training.KIND) == bool(match[2]):
        return None
    if match[1] != ecards.KIND and _number(match[3]) is None:
        return None
    return read_named(site, text)


def _by_number(site: Installation, text: str) -> Order | None:
    """Find a training order by its number."""
    number = _number(text)
    return read_named(site, f"{training.KIND}#{number}") if number else None


def _by_partner(site: Installation, text: str) -> Order | None:
    """Find the order of a company or an account by its number or UUID behind the partner's id.

    Raises:
        NotDone: The partner has an e-card order and a deal order of this number.
    """
    partner_id, slash, rest = text.partition("/")
    if not slash or not partner_id or not rest:
        return None
    if order_id := _uuid(rest):
        return read_named(site, f"{ecards.KIND}#{partner_id}#{order_id}")
    number = _number(rest)
    partner = Accounts(site.accounts).partner(partner_id) if number else None
    if partner is None or number is None:
        return None
    found = _numbered(site, partner, number)
    if len(found) > 1:
        raise NotDone(f"'{text}' is an e-card order and a deal order: name {found[0].id} or {found[1].name}")
    return found[0] if found else None


def _numbered(site: Installation, partner: Partner, number: int) -> list[Order]:
    """Find a partner's e-card order and deal order of a number, whichever exist."""
    found = []
    if partner.company is not None:
        entry = OrderBook(site.orders, f"{ecards.KIND}#{partner.id}").find([number]).get(number)
        found += [summarize(entry)] if entry else []
    if partner.deals:
        found.append(_deal(site, partner.id, number))
    return [order for order in found if order]


def _deal(site: Installation, account: str, number: int) -> Order | None:
    entry = OrderBook(site.orders, f"deals#{account}").find([number]).get(number)
    return summarize(entry) if entry else None


def _searched(
    site: Installation, text: str, by: Iterable[SearchedBy], since: datetime | None = None
) -> Iterator[Order]:
    """Yield the orders that the index finds, newest first for each kind of search."""
    for one in by:
        wanted = (_uuid(text) or text) if one is SearchedBy.ID else text
        keys = search(site.orders, one, wanted, since)
        while some := list(islice(keys, _READ_AT_ONCE)):
            found = site.orders.batch_get(some)
            yield from filter(None, (summarize(found[key]) for key in some if key in found))


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and 0 < int(text[:20]) <= LARGEST_NUMBER else None


def _uuid(text: str) -> str | None:
    """Read a UUID with or without hyphens."""
    plain = text.replace("-", "")
    return str(uuid.UUID(plain)) if re.fullmatch("[0-9a-fA-F]{32}", plain) else None
