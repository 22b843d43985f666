"""Training orders of one business unit: places, reads and cancels them, and issues their access keys.

Keys of the table, beside those of the order book: `ORDER#training#<id>` holds the order (`ORDER`) and its lines in
packs (`LINE#0001` and on, by the first line of each pack); `KEYS#training#<id>` its access keys; `SEQUENCE#training`
the last order id that was reserved; `ONCE#<partner>#…` the idempotency records (see `book.idempotency`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import assert_never

from ordering import clock, stored
from ordering.aws.dynamodb import (
    ABSENT,
    Check,
    ConditionFailed,
    Item,
    Key,
    Put,
    Table,
    TransactionRefused,
    Update,
    Write,
)
from ordering.book.correlation import correlation_of, kept
from ordering.book.idempotency import CreateResult, IdempotencyKey, IdempotencyRecords, replay
from ordering.book.lifecycle import Actor, Operator, State
from ordering.book.listing import Listing
from ordering.book.orderbook import GRACE, Collision, Draft, OrderBook, Ticket
from ordering.book.search import SearchedBy, searchable
from ordering.book.unfinished import PUBLISHED, mark
from ordering.clock import Clock, Deadline
from ordering.errors import Conflict, NotFound, OrderingError, Unavailable
from ordering.identity.accounts import Accounts, Contact
from ordering.logs import correlate, note
from ordering.principal import BusinessUnit, OrderSource, Principal, User
from ordering.sealing import Sealer
from ordering.training.access_keys import AccessKeys, IssuedKey, NoMoreKeys
from ordering.training.catalogue import Catalogue, TrainingFeatureSet
from ordering.training.statuses import TRAINING, TrainingStatus
from ordering.values import Struct, Value, asdict, field, replace

PACK_BYTES = 64 * 1024
"""About the most bytes of lines in one item. An item may have 400 KB, and a transaction 100 items and 4 MB.

Lines share items because writes are billed per started kilobyte: an item for each line would cost 2 to 3 times as much.
Not a stored format: packs of any size can be read.
"""

KIND = "training"
"""The kind in the names of training orders; see `book.names`."""

_PARTITION = f"ORDER#{KIND}#"
_ORDER = "ORDER"
_LAST_LINE = "LINE#\U0010ffff"
_SEQUENCE = ("SEQUENCE#training", "-")
_BLOCK = 10
_PACKS = "packs"
"""The attribute of an order's item with the number of items that have its lines; earlier releases did not write it."""

_LARGEST_ID = 2**31 - 1

_log = logging.getLogger("ordering")


class RequestedLine(Value, kw_only=True):
    """One line of a request: a feature set, and the number of seats."""

    feature_set_id: str
    quantity: int
    source_reference: str | None = None
    feedback_link_uri: str | None = None
    feedback_link_text: str | None = None
    enable_feedback_link: bool = False
    achievement_code: str | None = None


class OrderLine(RequestedLine, kw_only=True):
    """One line of an order; `number` counts from 1 within the order."""

    number: int
    description: str


class TrainingOrder(Value):
    """An order, with all fields that the contract's shapes of an order show."""

    id: int
    position: int
    partner: str
    business_unit: BusinessUnit
    created_by: User
    order_source: OrderSource
    reference: str
    contact_forename: str
    contact_surname: str
    contact_email: str
    email_keys: bool
    state: State[TrainingStatus]
    """The order's state; its history is empty if the order was read from a list."""
    created: datetime
    correlation: str | None = None
    """The id of the request that created it; None if it is not known, or if the order was read from a list."""

    @property
    def status(self) -> TrainingStatus:
        """The current status."""
        return self.state.status

    @property
    def editable(self) -> bool:
        """Whether the order can be changed. False for all orders of the API, as in the reference's samples."""
        return False

    @property
    def cancellable(self) -> bool:
        """Whether the partner can cancel the order. False for all orders of the API, as in the reference's samples."""
        return False


class TrainingRequest(Value):
    """A request for an order, already valid by the contract."""

    reference: str
    email_keys: bool
    contact_email: str | None
    lines: Sequence[RequestedLine]


class WholeOrder(Value):
    """An order's item and its lines, as they are stored."""

    item: Item
    lines: Sequence[Item]

    def keys(self, table: Table, sealer: Sealer) -> AccessKeys:
        """Return the order's access keys."""
        return AccessKeys(table, f"{KIND}#{self.item['order']['id']}", [one["quantity"] for one in self.lines], sealer)


class NotOffered(OrderingError):
    """A request has feature sets that are not in the business unit's catalogue."""

    def __init__(self, missing: Sequence[int]) -> None:
        """Take the indexes, from 0, of the lines with such feature sets."""
        super().__init__(f"not in the catalogue, by line: {list(missing)}")
        self.missing = tuple(missing)


class KeysNotIssued(Conflict):
    """The access keys of an order are not all issued yet."""

    retry_after = 2
    """Seconds after which a retry makes sense."""

    def __init__(self, order_id: int) -> None:
        """Name the order."""
        super().__init__(f"The access keys of order {order_id} are not issued yet.")


class KeysNeverIssued(Conflict):
    """The order was cancelled. Its access keys are never shown, even if some were issued."""

    def __init__(self, order_id: int) -> None:
        """Name the order."""
        super().__init__(f"Order {order_id} was cancelled and has no access keys.")


class OrderIds(Struct):
    """Order ids, reserved in blocks of ten, so that a warm process updates the table for every tenth order only."""

    block: list[int] = field(default_factory=list)

    def next(self, table: Table) -> int:
        """Return an id that is unique among all orders, those of other processes included.

        Raises:
            OverflowError: All ids of 32 bits are used up.
        """
        if not self.block:
            last: int = table.update(Update(_SEQUENCE, "ADD given :block", values={":block": _BLOCK}))["given"]
            self.block = list(range(last, last - _BLOCK, -1))
        number = self.block.pop()
        if number > _LARGEST_ID:
            raise OverflowError("order ids are used up")
        return number


class TrainingOrders:
    """The training orders of one business unit."""

    def __init__(
        self,
        table: Table,
        unit: str,
        *,
        sequence: OrderIds,
        now: Clock = clock.system_clock,
        grace: timedelta = GRACE,
    ) -> None:
        self._table = table
        self._unit = unit
        self._sequence = sequence
        self._now = now
        self._book = OrderBook(table, f"training#{unit}", now=now, grace=grace, shown=["order"])

    def place(  # noqa: PLR0913 - what it needs is handed in
        self,
        caller: Principal,
        request: TrainingRequest,
        *,
        unit_name: str,
        answer: Callable[[TrainingOrder], bytes],
        once: IdempotencyKey | None,
        catalogue: Catalogue,
        accounts: Accounts,
        correlation: str | None = None,
    ) -> CreateResult:
        """Place an order. A retry with the same key returns the result of the first create.

        Args:
            unit_name: The name of the business unit, as the order shows it.
            answer: Writes the response to the create, which retries with the same key get again.
            once: The caller's idempotency key; without one, every call creates an order.
            correlation: The id of the API request that places it; see `book.correlation`.

        Raises:
            NotOffered: A feature set is not in the unit's catalogue.
            KeyReused: The key was used for another request.
            Unavailable: The deadline passed. The same call with the same key is safe.
        """
        records = IdempotencyRecords(self._table, caller.partner, self._now)
        offered = catalogue.find_feature_sets(line.feature_set_id for line in request.lines)
        missing = [index for index, line in enumerate(request.lines) if line.feature_set_id not in offered]
        if missing:
            # The request may be a retry of one that was made before the catalogue changed.
            if once and (earlier := records.find(once)):
                return _noted(earlier)
            raise NotOffered(missing)
        contact = self._contact(caller, request, accounts)
        order_id = self._sequence.next(self._table)

        def ordered(ticket: Ticket) -> TrainingOrder:
            order = self._order(order_id, ticket, caller, request, unit_name=unit_name, contact=contact)
            return replace(order, correlation=correlation)

        def compose(ticket: Ticket) -> Draft:
            order = ordered(ticket)
            lines = [*_line_puts(order_id, request.lines, offered)]
            writes = [_order_put(order, once, len(lines)), *lines]
            if once:
                writes.append(records.put(once, order_id, answer(order)))
            return Draft({"order": _write_entry(order), **searchable(SearchedBy.EMAIL, order.contact_email)}, writes)

        try:
            ticket = self._book.place(compose)
        except Collision as collision:
            if once and (record := collision.items.get(records.key(once))):
                return _noted(replay(record, once))
            raise
        return _noted(CreateResult(order_id, answer(ordered(ticket)), replayed=False))

    def page(self, first: int, count: int) -> Listing[TrainingOrder]:
        """List up to `count` orders from rank `first` (from 0), oldest first."""
        page = self._book.page(first, count)
        return Listing([read_order(entry["order"]) for entry in page.entries], page.total)

    def order(self, order_id: int) -> TrainingOrder:
        """Read one order.

        Raises:
            NotFound: The unit has no order with this id.
        """
        return read_order_item(self._item(order_id))

    def lines(self, order_id: int, first: int, count: int) -> Listing[OrderLine]:
        """List up to `count` lines of an order from rank `first` (from 0), by number. Two calls to DynamoDB.

        Raises:
            NotFound: The unit has no order with this id.
        """
        self._item(order_id)
        lines = self._lines(order_id)
        return Listing(lines[first : first + count], len(lines))

    def cancel(
        self, order_id: int, operator: Operator | None = None, *, read: TrainingOrder | None = None
    ) -> TrainingOrder:
        """Cancel an order, for support.

        Args:
            operator: Who cancels it by a command; None if an event asks for it.
            read: The order as it was read, if only that state may be cancelled.

        Raises:
            NotFound: The unit has no order with this id.
            Conflict: The order can no longer be cancelled, or has changed since it was read.
        """
        return self._move(read or self.order(order_id), TrainingStatus.CANCELLED, Actor.SUPPORT, operator)

    def issue_keys(self, order_id: int, sealer: Sealer, until: Deadline) -> bool:
        """Issue access keys of an order, as many as there is time for, and complete the order after the last one.

        Returns:
            Whether nothing is left to do. If keys are missing, their progress was recorded in the order's item, so that
            the table's stream delivers a record for the order again.

        Raises:
            NotFound: The unit has no order with this id.
            Unavailable: The deadline passed. The same call again is safe.
        """
        whole = read_whole_orders(self._table, [order_id]).get(order_id)
        item = self._mine(order_id, whole.item if whole else None)
        if whole is None or self.issue_at_once(whole, sealer, until):
            return True
        order = read_order_item(item)
        keys = whole.keys(self._table, sealer)
        condition, names, values = as_read(order.state.version)
        try:
            issued = keys.issue(Check(_order_key(order_id), condition, names, values), until)
        except NoMoreKeys:
            return True
        if issued < keys.seats:
            self._record_progress(order, issued, item.get("issued", 0))
            _log.info("access keys issued", extra={"issued": issued, "seats": keys.seats})
            return False
        with suppress(Conflict):  # another process completed it, or it was cancelled: both are final
            self._move(order, TrainingStatus.COMPLETED, Actor.SYSTEM)
        return True

    def issue_at_once(self, whole: WholeOrder, sealer: Sealer, until: Deadline) -> WholeOrder | None:
        """Issue all access keys of an order and complete it, in one transaction.

        Args:
            whole: The order as it was read.
            sealer: Seals the keys.
            until: The time after which no attempt is made.

        Returns:
            The order after the call; None if that takes more than one transaction, or some keys are issued already.

        Raises:
            Unavailable: The deadline passed. The same call again is safe.
        """
        order = read_order_item(whole.item)
        if order.status is not TrainingStatus.NEW:
            return whole
        keys = whole.keys(self._table, sealer)
        if not keys.fit_one_transaction:
            return None
        state, writes = self._moving(order, TrainingStatus.COMPLETED, Actor.SYSTEM)
        try:
            self._table.until(until).transact([*writes, *keys.all_puts()])
        except TransactionRefused as refusal:
            if refusal.reasons[0] is None:
                return None
            # It is final now, by this call's lost attempt or by another process.
            return read_whole_orders(self._table, [order.id])[order.id]
        _log_move(order, TrainingStatus.COMPLETED)
        return replace(whole, item={**whole.item, "order": {**whole.item["order"], **state.to_item()}})

    def keys(self, order_id: int, first: int, count: int, sealer: Sealer) -> Listing[IssuedKey]:
        """List up to `count` access keys of an order from rank `first` (from 0), by line and seat.

        Raises:
            NotFound: The unit has no order with this id.
            KeysNotIssued: The keys are not all issued yet.
            KeysNeverIssued: The order was cancelled.
        """
        match self.order(order_id).status:
            case TrainingStatus.NEW:
                raise KeysNotIssued(order_id)
            case TrainingStatus.CANCELLED:
                raise KeysNeverIssued(order_id)
            case TrainingStatus.COMPLETED:
                pass
            case unknown:
                assert_never(unknown)
        keys = self._keys(order_id, self._lines(order_id), sealer)
        return Listing(keys.page(first, count), keys.seats)

    def _keys(self, order_id: int, lines: Sequence[OrderLine], sealer: Sealer) -> AccessKeys:
        return keys_of(self._table, order_id, lines, sealer)

    def _record_progress(self, order: TrainingOrder, issued: int, before: int) -> None:
        """Record in the order's item how many keys it has, so that its stream record continues the work.

        Raises:
            Unavailable: No key was issued since the order was read.
        """
        if issued <= before:
            raise Unavailable
        condition, names, values = as_read(order.state.version)
        condition += " AND (attribute_not_exists(issued) OR issued < :issued)"
        values = {**values, ":issued": issued}
        # Refused if another process recorded as many keys or more, or the order reached a final status.
        with suppress(ConditionFailed):
            self._table.update(Update(_order_key(order.id), "SET issued = :issued", condition, names, values))

    def _move(
        self, order: TrainingOrder, target: TrainingStatus, by: Actor, operator: Operator | None = None
    ) -> TrainingOrder:
        """Move an order to another status, in its item and in lists.

        Raises:
            Conflict: The lifecycle does not allow the move, or the order has changed since it was read.
        """
        state, writes = self._moving(order, target, by, operator)
        try:
            self._table.transact(writes)
        except TransactionRefused as refusal:
            # An earlier attempt may have taken effect, with only its response lost.
            if self.order(order.id).state != state:
                raise Conflict(f"Order {order.id} has changed since it was {order.status}.") from refusal
        _log_move(order, target)
        return replace(order, state=state)

    def _moving(
        self, order: TrainingOrder, target: TrainingStatus, by: Actor, operator: Operator | None = None
    ) -> tuple[State[TrainingStatus], list[Write]]:
        """Return an order's state after a move, and the writes of it: to the order's item first, then to its entry.

        Raises:
            Conflict: The lifecycle does not allow the move.
        """
        state = TRAINING.move(str(order.id), order.state, target, by, self._now(), operator=operator)
        to = state.to_item()
        condition, names, values = as_read(order.state.version)
        names = {**names, "#status": "status"}
        move = Update(
            _order_key(order.id),
            "SET #order.#status = :status, #order.version = :version, #order.history = :history",
            condition,
            names,
            {**values, **{f":{name}": value for name, value in to.items()}},
        )
        show = Update(
            self._book.entry_key(order.position),
            "SET #order.#status = :status",
            names=names,
            values={":status": to["status"]},
        )
        return state, [move, show]

    def settle(self) -> int:
        """Settle the unit's book, and return the position up to which it is settled; see `OrderBook.settle`."""
        return self._book.settle()

    def _mine(self, order_id: int, item: Item | None) -> Item:
        if item is None or item["order"]["unit"]["id"] != self._unit:
            raise NotFound("order", str(order_id))
        note(order=training_name(order_id), partner=item["order"]["partner"])
        correlate(correlation_of(item))
        return item

    def _item(self, order_id: int) -> Item:
        return self._mine(order_id, self._table.get(_order_key(order_id)))

    def _lines(self, order_id: int) -> list[OrderLine]:
        """Read the lines of an order of the unit's.

        Callers first check by the order's own item that it is the unit's. With item and lines in one call, the response
        to another unit's order would take the longer, the more lines it has.
        """
        partition, _ = _order_key(order_id)
        return _read_lines(self._table.query(partition, "LINE#", _LAST_LINE))

    def _contact(self, caller: Principal, request: TrainingRequest, accounts: Accounts) -> tuple[str, Contact]:
        email = request.contact_email or caller.user.user_name
        if email.lower() == caller.user.user_name.lower():
            return email, Contact(caller.user.forename, caller.user.surname)
        return email, accounts.contact(self._unit, email) or Contact("", "")

    def _order(  # noqa: PLR0913 - all parts of an order
        self,
        order_id: int,
        ticket: Ticket,
        caller: Principal,
        request: TrainingRequest,
        *,
        unit_name: str,
        contact: tuple[str, Contact],
    ) -> TrainingOrder:
        email, person = contact
        return TrainingOrder(
            id=order_id,
            position=ticket.position,
            partner=caller.partner,
            business_unit=BusinessUnit(self._unit, unit_name),
            created_by=caller.user,
            order_source=caller.order_source,
            reference=request.reference,
            contact_forename=person.forename,
            contact_surname=person.surname,
            contact_email=email,
            email_keys=request.email_keys,
            state=TRAINING.begin(str(order_id), TrainingStatus.NEW, Actor.PARTNER, ticket.issued),
            created=ticket.issued,
        )


def training_name(order_id: int | str) -> str:
    """Return the name of an order; see `book.names`."""
    return f"{KIND}#{order_id}"


def id_of(name: str) -> int:
    """Return the id of the order that a name names; see `book.names`.

    Raises:
        ValueError: The name does not name a training order.
    """
    return int(name.removeprefix(f"{KIND}#"))


def status_of(item: Item) -> str:
    """Return the status in an order's item."""
    status: str = item["order"]["status"]
    return status


def unit_id_of(item: Item) -> str:
    """Return the id of the business unit in an order's item."""
    unit: str = item["order"]["unit"]["id"]
    return unit


def once_digest(item: Item) -> str | None:
    """Return the digest of the idempotency key that the order in an item was created with; see `IdempotencyKey`."""
    return item.get("once")


def emails_keys(item: Item) -> bool:
    """Return whether the order in an item requests that its access keys are mailed."""
    wanted: bool = item["order"]["emailKeys"]
    return wanted


def find_order(table: Table, order_id: int) -> tuple[TrainingOrder, list[OrderLine]] | None:
    """Read an order of any business unit, with its lines; None if the order does not exist.

    Raises:
        Unavailable: The deadline passed.
    """
    item, lines = _read_whole(table, order_id)
    if item is None:
        return None
    order = read_order_item(item)
    note(order=training_name(order_id), partner=order.partner)
    correlate(order.correlation)
    return order, lines


def keys_of(table: Table, order_id: int, lines: Sequence[OrderLine], sealer: Sealer) -> AccessKeys:
    """Return the access keys of an order, for functions that may issue or read them."""
    return AccessKeys(table, f"training#{order_id}", [line.quantity for line in lines], sealer)


def _noted(result: CreateResult) -> CreateResult:
    note(order=training_name(result.resource_id), replayed=result.replayed)
    return result


def _read_whole(table: Table, order_id: int) -> tuple[Item | None, list[OrderLine]]:
    """Read an order's item, None if it does not exist, and its lines."""
    partition, last = _order_key(order_id)
    found = [*table.query(partition, "LINE#", last)]
    return (found[-1] if found else None), _read_lines(found[:-1])


def read_whole_orders(table: Table, order_ids: Sequence[int]) -> dict[int, WholeOrder]:
    """Read orders of all business units with their lines, by id; those that do not exist are left out.

    Fifty orders take one call, unless their lines take more than one item.

    Raises:
        Unavailable: The deadline passed.
    """
    found = table.batch_get([key for one in order_ids for key in (_order_key(one), _first_lines_key(one))])
    wholes = {}
    for order_id in order_ids:
        if item := found.get(_order_key(order_id)):
            packs = [found.get(_first_lines_key(order_id))]
            if item.get(_PACKS) != 1 or None in packs:
                partition, _ = _order_key(order_id)
                packs = [*table.query(partition, "LINE#", _LAST_LINE)]
            wholes[order_id] = WholeOrder(item, [line for pack in packs if pack for line in pack["lines"]])
    return wholes


def _read_lines(packs: Iterable[Item]) -> list[OrderLine]:
    return [stored.read(OrderLine, line) for pack in packs for line in pack["lines"]]


def as_read(version: int) -> tuple[str, dict[str, str], dict[str, int]]:
    """Return the condition that an order's version is the one that was read, with its names and values."""
    return "#order.version = :read", {"#order": "order"}, {":read": version}


def _order_key(order_id: int) -> Key:
    return f"{_PARTITION}{order_id}", _ORDER


def _log_move(order: TrainingOrder, target: TrainingStatus) -> None:
    moved = {"order": training_name(order.id), "partner": order.partner, "status": str(target)}
    _log.info("order moved", extra=moved)


def _first_lines_key(order_id: int) -> Key:
    return f"{_PARTITION}{order_id}", "LINE#0001"


def _order_put(order: TrainingOrder, once: IdempotencyKey | None, packs: int) -> Put:
    partition, sort = _order_key(order.id)
    found = searchable(SearchedBy.REFERENCE, order.reference, order.created)
    origin = {**({"once": once.digest} if once else {}), **kept(order.correlation)}
    left = {_PACKS: packs, PUBLISHED: 0, **mark((partition, sort), order.created)}
    return Put({"pk": partition, "sk": sort, "order": _write(order), **found, **origin, **left}, ABSENT)


def _line_puts(
    order_id: int, requested: Sequence[RequestedLine], offered: Mapping[str, TrainingFeatureSet]
) -> Iterator[Put]:
    partition, _ = _order_key(order_id)
    lines = [
        {**asdict(line), "number": number, "description": offered[line.feature_set_id].description}
        for number, line in enumerate(requested, 1)
    ]
    for pack in _packs(lines):
        yield Put({"pk": partition, "sk": f"LINE#{pack[0]['number']:04}", "lines": pack}, ABSENT)


def _packs(lines: Sequence[Item]) -> Iterator[list[Item]]:
    pack: list[Item] = []
    size = 0
    for line in lines:
        weight = sum(len(name) + len(str(value).encode()) for name, value in line.items())
        if pack and size + weight > PACK_BYTES:
            yield pack
            pack, size = [], 0
        pack.append(line)
        size += weight
    yield pack


def _write(order: TrainingOrder) -> Item:
    return {**_write_entry(order), **order.state.to_item()}


def _write_entry(order: TrainingOrder) -> Item:
    return {
        "id": order.id,
        "position": order.position,
        "partner": order.partner,
        "unit": asdict(order.business_unit),
        "user": asdict(order.created_by),
        "source": asdict(order.order_source),
        "reference": order.reference,
        "contact": {
            "forename": order.contact_forename,
            "surname": order.contact_surname,
            "email": order.contact_email,
        },
        "emailKeys": order.email_keys,
        "status": str(order.status),
        "created": clock.to_text(order.created),
    }


def read_order_item(item: Item) -> TrainingOrder:
    """Read an order from its item."""
    return replace(read_order(item["order"]), correlation=correlation_of(item))


def read_order(item: Item) -> TrainingOrder:
    """Read an order from `order` of its item or of its entry in the book, which has no history."""
    return TrainingOrder(
        id=item["id"],
        position=item["position"],
        partner=item["partner"],
        business_unit=stored.read(BusinessUnit, item["unit"]),
        created_by=stored.read(User, item["user"]),
        order_source=stored.read(OrderSource, item["source"]),
        reference=item["reference"],
        contact_forename=item["contact"]["forename"],
        contact_surname=item["contact"]["surname"],
        contact_email=item["contact"]["email"],
        email_keys=item["emailKeys"],
        state=TRAINING.read({"version": 0, "history": (), **item} if "history" not in item else item),
        created=clock.from_text(item["created"]),
    )
