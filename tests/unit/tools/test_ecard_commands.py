"""Support's commands for companies that order e-cards: `ordering balance` and `stock`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ordering.aws.dynamodb import Put, Update
from ordering.aws.sealer import EnvelopeSealer
from ordering.ecards.certificates import Certificate, Certificates
from ordering.ecards.orders import EcardOrders
from ordering.errors import Unavailable
from ordering.principal import User
from ordering_tools import audit
from ordering_tools.audit import AuditEntry
from ordering_tools.installation import Installation, NoInstallation
from ordering_tools.operations import commands
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.commands import Done, Run
from support.ecards import CARDS, HUNDRED, Rewards, card, order_id

START = datetime(2026, 1, 1, 12, tzinfo=UTC)

WHY = ("--reason", "ticket 17")

ROBOT = User("robot", "R", "Obot", "robot@example.com")


def load(run: Run, path: str, batch: str = "b1", card_id: str = "1", face_value: str = "100 ₽") -> Done:
    return run("stock", "load", path, "--batch", batch, "--card", card_id, "--face-value", face_value)


# Balances -----------------------------------------------------------------------------------------------------------


def topped_up(run: Run, amount: str, operation: str = "t1", company: str = "granite") -> Done:
    return run("balance", "top-up", company, amount, "--operation", operation, *WHY)


def corrected(run: Run, amount: str, operation: str = "c1") -> Done:
    return run("balance", "correct", "granite", amount, "--operation", operation, *WHY)


def entries(installation: Installation) -> list[AuditEntry]:
    """What the audit trail has."""
    return [*audit.entries(installation.orders, f"{datetime.now(UTC):%Y-%m}")]


def test_topped_up(company: Rewards, run: Run) -> None:
    """A payment is added to the balance and pays for the waiting order; the new balance is printed."""
    company.place()
    printed = topped_up(run, "250.50").output

    assert [line.split() for line in printed.splitlines()] == [
        ["company", "granite"],
        ["operation", "t1"],
        ["booked", "250.50"],
        ["balance", "150.50"],
    ]
    assert (company.status(), company.balance) == ("Payed", "150.50")


def test_topped_up_once(company: Rewards, run: Run) -> None:
    """A payment with the same operation is booked only once; the same operation with another amount is refused."""
    printed = [topped_up(run, "100").output.splitlines() for _ in range(3)]

    assert [lines[-1].split() for lines in printed] == [["balance", "100.00"]] * 3
    assert [lines[0] == "'t1' was booked before: nothing was changed" for lines in printed] == [False, True, True]
    assert "was made with another amount" in topped_up(run, "101").error
    assert topped_up(run, "100.00").code == 0
    assert (topped_up(run, "1", "t2").code, company.balance) == (0, "101")


@pytest.mark.parametrize("amount", ["0", "-5"])
def test_no_top_up(company: Rewards, run: Run, amount: str) -> None:
    """A top-up is positive; the error names the command that lowers a balance."""
    assert f"`ordering balance correct granite {amount}`" in topped_up(run, amount).error
    assert company.balance == "0"


@pytest.mark.parametrize(
    ("amount", "error"),
    [
        ("0.001", "0.001 has more than two decimals"),
        ("NaN", "NaN cannot be booked: the limit is 1,000,000,000,000"),
        ("Infinity", "Infinity cannot be booked: the limit is"),
        ("1e999999", "1e999999 cannot be booked: the limit is"),
        ("-1e13", "-1e13 cannot be booked: the limit is"),
        ("much", "'much' is not a valid amount"),
    ],
)
@pytest.mark.parametrize("change", [topped_up, corrected])
def test_invalid_amounts(company: Rewards, run: Run, change: Callable[..., Done], amount: str, error: str) -> None:
    """An amount is a finite number within the limit of a payment, with at most two decimals."""
    done = change(run, amount)

    assert (done.code, error in done.errors, "Traceback" in done.errors) == (2, True, False)
    assert company.balance == "0"


@pytest.mark.parametrize("operation", ["", "x" * 201])
@pytest.mark.parametrize("change", [topped_up, corrected])
def test_invalid_operations(company: Rewards, run: Run, change: Callable[..., Done], operation: str) -> None:
    """A change has a name of 1 to 200 characters, so that it is booked once."""
    done = change(run, "1", operation)

    assert (done.code, "1 to 200 are allowed" in done.errors) == (2, True)
    assert company.balance == "0"


@pytest.mark.parametrize("command", ["top-up", "correct"])
def test_changes_of_money_have_a_reason(company: Rewards, run: Run, command: str) -> None:
    """Without a reason no money is booked."""
    done = run("balance", command, "granite", "1", "--operation", "x")

    assert (done.code, "--reason" in done.errors) == (2, True)
    assert company.balance == "0"


def test_who_changed_a_balance(company: Rewards, run: Run, installation: Installation) -> None:
    """Ledger and audit trail have who changed a balance, by how much and why; a repetition adds nothing."""
    topped_up(run, "250.50")
    corrected(run, "-50")
    corrected(run, "-50")
    ledger = {entry.purpose: entry for entry in company.orders.balance.entries()}

    assert {(entry.by, entry.reason) for entry in ledger.values()} == {(installation.caller, "ticket 17")}
    assert [(one.action, one.subject, one.reason, one.after) for one in entries(installation)] == [
        ("balance top-up", "balance granite", "ticket 17", {"operation": "t1", "amount": "250.50"}),
        ("balance correct", "balance granite", "ticket 17", {"operation": "c1", "amount": "-50.00"}),
    ]


def test_corrected(company: Rewards, run: Run) -> None:
    """A correction raises or lowers a balance, once for each name, and pays for waiting orders."""
    company.place()
    assert corrected(run, "130").output.splitlines()[-1].split() == ["balance", "30.00"]
    assert company.status() == "Payed"
    assert corrected(run, "-10.50", "c2").output.splitlines()[-1].split() == ["balance", "19.50"]
    assert "'c2' was booked before: nothing was changed" in corrected(run, "-10.50", "c2").output
    assert "was made with another amount" in corrected(run, "-11", "c2").error
    assert company.balance == "19.50"


def test_a_balance_is_never_negative(company: Rewards, run: Run, installation: Installation) -> None:
    """A correction that the balance does not cover is refused with the balance, and a correction by nothing as well."""
    topped_up(run, "10")

    assert corrected(run, "-10.01").error == "The balance is 10.00: it cannot be lowered by 10.01."
    assert corrected(run, "0").error.startswith("a correction by 0 changes nothing")
    assert (company.balance, len(entries(installation))) == ("10", 1)


@pytest.mark.parametrize("words", [("top-up", "two", "1"), ("correct", "two", "1"), ("show", "two")])
def test_a_partner_without_a_balance(run: Run, installation: Installation, words: tuple[str, ...]) -> None:
    """A partner that orders no e-cards has no balance, and gets none."""
    change = () if words[0] == "show" else ("--operation", "x", *WHY)

    assert run("balance", *words, *change).error.startswith("partner 'two' has no balance: it orders no e-cards")
    assert EcardOrders(installation.orders, "two").balance.amount() == 0


def test_unknown_partner_s_balance(run: Run, installation: Installation) -> None:
    """No payment is booked for an unknown partner."""
    assert topped_up(run, "100", company="nobody").error == (
        "there is no partner 'nobody'; see `ordering partner list`"
    )
    assert EcardOrders(installation.orders, "nobody").balance.amount() == 0


def test_the_ledger(company: Rewards, run: Run) -> None:
    """A balance is shown with its changes by time, each with the balance after it and the order's number."""
    topped_up(run, "250.50")
    company.place()
    company.orders.cancel(order_id(1))
    corrected(run, "-50.50")
    _, *changes, total = run("balance", "show", "granite").output.splitlines()

    assert [line.rstrip().split(maxsplit=4)[2:] for line in changes] == [
        ["250.50", "250.50", "top-up t1 by local"],
        ["-100.00", "150.50", "order 1"],
        ["100.00", "250.50", "refund of order 1"],
        ["-50.50", "200.00", "correction c1 by local"],
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ ", line) for line in changes)
    assert total == "balance 200.00"


def test_the_latest_of_the_ledger(company: Rewards, run: Run) -> None:
    """With --limit the latest changes are shown, with the balance that all changes make."""
    for operation in "abc":
        topped_up(run, "1", operation)
    first, _, change, total = run("balance", "show", "granite", "--limit", "1").output.splitlines()

    assert first == "the latest 1 of 3 entries; see --limit"
    assert change.split()[2:] == ["1.00", "3.00", "top-up", "c", "by", "local"]
    assert total == "balance 3.00"
    assert company.balance == "3"


def test_the_ledger_as_json(company: Rewards, run: Run) -> None:
    """Programs get the balance and its changes as one document."""
    company.top_up("2.50")
    document = json.loads(run("balance", "show", "granite", "--json").output)

    assert (document["company"], document["balance"]) == ("granite", "2.50")
    assert [(one["amount"], one["balance"], one["purpose"]) for one in document["entries"]] == [
        ("2.50", "2.50", "topup#t1")
    ]


# Stock --------------------------------------------------------------------------------------------------------------


def test_loaded(run: Run, codes: Callable[..., str]) -> None:
    """Each line that is not blank is a code, without leading and trailing spaces."""
    path = codes("AAAA", "", "  BBBB  ", "   ", "CCCC")

    assert load(run, path).output == "3 new, 0 known\n3 free\n"
    assert run("stock", "show", "--card", "1", "--face-value", "100 ₽").output == "3 free\n"
    assert run("stock", "show", "--card", "1", "--face-value", "1000 ₽").output == "0 free\n"


def test_loaded_once(run: Run, codes: Callable[..., str]) -> None:
    """A batch is loaded only once; the same batch with other codes is refused, another batch is added."""
    printed = [load(run, codes("A", "B")).output for _ in range(2)]

    assert printed == [
        "2 new, 0 known\n2 free\n",
        "batch 'b1' was loaded before: nothing was changed\n2 new, 0 known\n2 free\n",
    ]
    assert "loaded with other codes" in load(run, codes("A", "C")).error
    assert load(run, codes("C"), "b2").output == "1 new, 0 known\n3 free\n"


def test_duplicates(run: Run, codes: Callable[..., str]) -> None:
    """Duplicate codes are named by their lines and are not printed; nothing is loaded."""
    refused = load(run, codes("SECRET", "", "B", "SECRET", "C", "B")).error

    assert refused == "nothing was loaded: duplicate codes in the file: lines 4, 6"
    assert run("stock", "show", "--card", "1", "--face-value", "100 ₽").output == "0 free\n"


def test_nothing_to_load(run: Run, codes: Callable[..., str], tmp_path: Path) -> None:
    """An empty or missing file is an error."""
    assert "there are no codes in" in load(run, codes("", " ")).error
    assert load(run, str(tmp_path / "nothing.txt")).error == f"there is no file {tmp_path / 'nothing.txt'}"


def test_codes_are_encrypted(run: Run, codes: Callable[..., str], installation: Installation) -> None:
    """The tables contain no code in plain text; --kms selects the key that encrypts."""
    path = codes("SECRET-CODE")
    run("stock", "load", path, "--batch", "b", "--card", "1", "--face-value", "100 ₽", "--kms", "alias/Other")
    memory, kms = installation.send, installation.kms
    assert isinstance(memory, Memory)
    assert isinstance(kms, MemoryKms)

    assert "SECRET-CODE" not in repr([item for _, item in memory.scan("OrdersTable")])
    assert {request["KeyId"] for operation, request in kms.calls if operation == "GenerateDataKey"} == {"alias/Other"}


def test_the_oldest_get_what_is_loaded(company: Rewards, run: Run, codes: Callable[..., str]) -> None:
    """Loaded certificates are assigned to waiting orders, oldest first; the number that is left is printed."""
    company.top_up(400)
    for number, quantity in ((1, 2), (2, 1), (3, 1)):
        company.place(number, card(quantity=quantity))
        company.orders.advance(order_id(number))

    assert load(run, codes("a", "b", "c")).output == "3 new, 0 known\n0 free\n"
    assert company.statuses() == ["ReadyForDelivery", "ReadyForDelivery", "AwaitingCertificateAssignment"]


def test_a_byte_order_mark_is_no_part_of_a_code(run: Run, tmp_path: Path, installation: Installation) -> None:
    """A byte order mark at a file's start and line ends of Windows are dropped."""
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfBOM-0001\r\nBOM-0002\r\n")
    load(run, str(path))
    sealer = EnvelopeSealer(installation.kms)
    opened = Certificates(installation.orders, sealer).open(HUNDRED, ((1, 2),))

    assert [one.code for one in opened] == ["BOM-0001", "BOM-0002"]


def test_invalid_codes(run: Run, codes: Callable[..., str]) -> None:
    """Codes that would not arrive as they are are named by line with the reason; nothing is loaded."""
    refused = load(run, codes("GOOD", "", "ZERO\u200bWIDTH", "TWO  BLANKS", "\N{NO-BREAK SPACE}X")).error

    assert refused == (
        "nothing was loaded: invalid codes, by line: 3 has a character that is not shown, U+200B, 4 has a blank at an "
        "end, or two in a row, 5 has a blank other than a space, U+00A0"
    )
    assert run("stock", "show", "--card", "1", "--face-value", "100 ₽").output == "0 free\n"


def test_a_file_that_is_not_utf_8(run: Run, tmp_path: Path) -> None:
    """A file in another encoding is refused."""
    path = tmp_path / "utf16.txt"
    path.write_bytes("CODE".encode("utf-16"))

    assert load(run, str(path)).error == f"{path} is not in UTF-8"


def test_known_codes(run: Run, codes: Callable[..., str]) -> None:
    """Codes that the card has already, also at another face value, are named by line and not loaded again."""
    load(run, codes("A", "B"))

    assert load(run, codes("C", "", "A"), "b1 \t", face_value="1000 ₽").output == "1 new, 1 known: lines 3\n1 free\n"
    assert load(run, codes("B", "D"), "b2").output == "1 new, 1 known: lines 1\n3 free\n"


def test_codes_of_another_card(run: Run, codes: Callable[..., str]) -> None:
    """Codes that another card has are refused by line, unless forced."""
    load(run, codes("A", "B"))
    other = ("--card", "2", "--face-value", "500 ₽")
    path = codes("C", "B")
    refused = run("stock", "load", path, "--batch", "b", *other).error

    assert refused == (
        "nothing was loaded: another card has codes of the file, by line: 2 (card 1); with --force they are loaded"
    )
    assert run("stock", "load", path, "--batch", "b", *other, "--force").output == "2 new, 0 known\n2 free\n"


@pytest.mark.parametrize(("card_id", "face_value"), [("1", "100\u00a0₽"), ("9", "100 ₽"), ("3", "13 months")])
def test_stock_that_no_catalogue_has(run: Run, codes: Callable[..., str], card_id: str, face_value: str) -> None:
    """A card or face value that no company's catalogue has is refused, unless forced."""
    stock = ("--card", card_id, "--face-value", face_value)
    refused = run("stock", "load", codes("A"), "--batch", "b", *stock).error

    assert refused == (
        f"nothing was loaded: no catalogue has card {card_id} with the face value {face_value!r}; with --force it is "
        "loaded nevertheless"
    )
    assert run("stock", "load", codes("A"), "--batch", "b", *stock, "--force").code == 0


def test_stock_is_moved(company: Rewards, run: Run, codes: Callable[..., str]) -> None:
    """Free certificates move to another face value, where waiting orders get them, and can be chosen by batch."""
    company.top_up(1_100)
    company.place(1, card(face_value="1000 ₽"))
    company.orders.advance(order_id(1))
    load(run, codes("A", "B"))
    load(run, codes("C"), "b2")
    source = ("--card", "1", "--face-value", "100 ₽")

    assert run("stock", "move", *source, "--to-face-value", "1000 ₽", "--batch", "b1", "--count", "1").output == (
        "1 moved to card 1 (1000 ₽), 2 free in card 1 (100 ₽)\n"
    )
    assert company.status() == "ReadyForDelivery"
    assert "in this stock already" in run("stock", "move", *source).error
    assert "with --force" in run("stock", "move", *source, "--to-face-value", "1 ₽").error
    assert "load" in run("stock", "move", *source, "--to-card", "2", "--to-face-value", "500 ₽", "--batch", "x").error


def test_stock_is_compacted(run: Run, codes: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Free certificates in many ranges are reported with what to do, and are in few after it."""
    monkeypatch.setattr("ordering_tools.operations.stock._MANY_RANGES", 2)
    monkeypatch.setattr("ordering.ecards.stock.upkeep.COMPACT_TO", 1)
    stock = ("--card", "1", "--face-value", "100 ₽")
    for batch in "ABC":
        load(run, codes(batch), batch)
    run("stock", "unload", *stock, "--batch", "B", "--yes", *WHY)

    assert run("stock", "show", *stock).output == (
        "in 2 separate ranges, which makes orders costly: `ordering stock compact` joins them\n2 free\n"
    )
    assert run("stock", "compact", *stock).output == "2 moved within card 1 (100 ₽), free certificates in 1 range\n"
    assert run("stock", "show", *stock).output == "2 free\n"


def test_a_stock_in_too_many_ranges(run: Run, codes: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A load that a stock cannot take is refused with the command that makes room."""
    monkeypatch.setattr("ordering.ecards.certificates.MOST_RANGES", 1)
    load(run, codes("A"), "A")

    assert load(run, codes("B"), "B").error == (
        "the free certificates of card 1 with the face value '100 ₽' are in too many separate ranges (at most 1); "
        "run `ordering stock compact` for it, then retry"
    )


def test_stock_is_unloaded(run: Run, codes: Callable[..., str]) -> None:
    """Unloaded codes can be loaded again, under another batch."""
    load(run, codes("A", "B"))
    stock = ("--card", "1", "--face-value", "100 ₽")

    assert run("stock", "unload", *stock, "--yes", *WHY).output == "2 removed\n0 free\n"
    assert load(run, codes("A", "B"), "b2").output == "2 new, 0 known\n2 free\n"


def test_earlier_loads_are_registered(run: Run, codes: Callable[..., str], installation: Installation) -> None:
    """The first load registers the codes of earlier releases, and prints what is wrong with them by position."""
    certificates = Certificates(installation.orders, EnvelopeSealer(installation.kms, "alias/CertificatesKey"))
    for number, code in ((1, "A"), (2, "B"), (3, "A"), (4, "\ufeffC")):
        installation.orders.put(certificates.put(Certificate(HUNDRED, number, code)))
    for batch, first in (("l1", 1), ("l2", 3)):
        load_record = {"pk": f"LOADS#{HUNDRED}", "sk": batch, "first": first, "last": first + 1, "published": True}
        installation.orders.put(Put(load_record))
    installation.orders.put(
        Put({"pk": HUNDRED.key[0], "sk": "-", "reserved": 4, "unassigned": [[1, 4]], "loaded": 4, "version": 2})
    )

    assert load(run, codes("D", "B"), "l3").output.splitlines() == [
        "withdrawn from card 1 (100 ₽): certificate 3, whose code the card has twice",
        (
            "certificate 4 of card 1 (100 ₽) has a code that cannot be one: has a character that is not shown, U+FEFF; "
            "replace it"
        ),
        "1 new, 1 known: lines 2",
        "4 free",
    ]


def test_unfinished_loads_are_shown(run: Run, codes: Callable[..., str], installation: Installation) -> None:
    """A load that crashed is named with the number of free certificates, until it is run again."""
    load(run, codes("A"))
    installation.orders.update(Update((f"LOADS#{HUNDRED}", "b1"), "SET published = :no", values={":no": False}))
    shown = run("stock", "show", "--card", "1", "--face-value", "100 ₽").output

    assert shown == "batch 'b1' is not complete: load the same file again\n1 free\n"


def test_nothing_of_earlier_releases(run: Run) -> None:
    """Where no earlier release loaded anything, there are no codes to register."""
    assert run("stock", "index").output == "0 codes of earlier loads registered\n"


STOCK = ("--card", "1", "--face-value", "100 ₽")


def test_an_unload_is_asked_for(run: Run, codes: Callable[..., str]) -> None:
    """Codes are not removed before it was agreed to, and not without a reason."""
    load(run, codes("A", "B"))

    assert "up to 2 of 2 free certificates are removed" in run("stock", "unload", *STOCK, *WHY).error
    assert "--reason" in run("stock", "unload", *STOCK, "--yes").errors
    assert run("stock", "show", *STOCK).output == "2 free\n"


@pytest.mark.parametrize(
    "words",
    [
        ("show",),
        ("move", "--to-face-value", "100 ₽"),
        ("compact",),
        ("unload", "--yes", *WHY),
    ],
)
def test_unknown_stock(run: Run, installation: Installation, words: tuple[str, ...]) -> None:
    """A card that no catalogue has, and of which nothing was loaded, is refused before anything is written."""
    command, *more = words
    refused = run("stock", command, "--card", "9", "--face-value", "1 ₽", *more).error

    assert refused == "no catalogue has card 9 with the face value '1 ₽'; see `ordering stock list COMPANY`"
    assert entries(installation) == []


@pytest.mark.parametrize("words", [("--card", "0"), ("--count", "0"), ("--count", "-1"), ("--card", "x")])
def test_numbers_from_1(run: Run, words: tuple[str, str]) -> None:
    """Cards and counts are numbers from 1."""
    done = run("stock", "unload", *STOCK, *words, "--yes", *WHY)

    assert (done.code, f"Invalid value for '{words[0]}'" in done.errors) == (2, True)


def test_the_stocks_of_a_company(run: Run, codes: Callable[..., str]) -> None:
    """The free certificates are listed for each card and face value that a company can order."""
    load(run, codes("A", "B"))
    listed = json.loads(run("stock", "list", "granite", "--json").output)

    assert {(one["card"], one["faceValue"]): one["free"] for one in listed} == {
        (one.id, value.name): 2 * ((one.id, value.name) == (1, "100 ₽")) for one in CARDS for value in one.face_values
    }
    assert run("stock", "list", "two").error.startswith("'two' has no catalogue of e-cards")


def test_the_outcome_of_a_load_as_json(run: Run, codes: Callable[..., str]) -> None:
    """Programs get all lines that were not loaded; people get the first twenty."""
    many = [str(number) for number in range(30)]
    load(run, codes(*many))
    path = codes(*many, "new")
    shown = load(run, path, "b2").errors
    printed = run("stock", "load", path, "--batch", "b3", *STOCK, "--json").output

    assert shown == ""
    assert json.loads(printed) == {
        "card": 1,
        "faceValue": "100 ₽",
        "free": 31,
        "ranges": 1,
        "unfinished": [],
        "batch": "b3",
        "new": 0,
        "repeated": False,
        "knownLines": [*range(1, 32)],
        "elsewhereLines": [],
    }
    again = load(run, path, "b4").output
    assert again.splitlines()[0] == f"0 new, 31 known: lines {', '.join(map(str, range(1, 21)))} and 11 more"


def test_who_changed_the_stock(run: Run, codes: Callable[..., str], installation: Installation) -> None:
    """Loads, moves and unloads are in the audit trail, without codes; what changes nothing is not."""
    load(run, codes("SECRET-A", "SECRET-B"))
    load(run, codes("SECRET-A", "SECRET-B"))
    run("stock", "move", *STOCK, "--to-face-value", "1000 ₽", "--count", "1", *WHY)
    run("stock", "unload", *STOCK, "--batch", "b1", "--yes", *WHY)
    noted = [(one.action, one.subject, one.reason, one.after) for one in entries(installation)]

    assert noted == [
        ("stock load", "stock 1 100 ₽", "", {"batch": "b1", "codes": 2}),
        ("stock move", "stock 1 100 ₽", "ticket 17", {"count": 1, "to": "stock 1 1000 ₽"}),
        ("stock unload", "stock 1 100 ₽", "ticket 17", {"batch": "b1"}),
    ]


def test_a_large_load(run: Run, codes: Callable[..., str], installation: Installation) -> None:
    """A load of several transactions is one entry in the audit trail."""
    assert load(run, codes(*map(str, range(300)))).output == "300 new, 0 known\n300 free\n"
    assert len(entries(installation)) == 1
    assert run("stock", "unload", *STOCK, "--yes", *WHY).output == "300 removed\n0 free\n"


# Without a local run ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [NoInstallation("start it with `make serve`"), Unavailable()])
def test_not_running(run: Run, codes: Callable[..., str], monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """If the local run is not running, every command explains how to start it."""

    def reopen(_: Path) -> Installation:
        raise error

    monkeypatch.setattr(commands, "reopen", reopen)

    for done in (
        run("order", "cancel", "1", "--reason", "x"),
        topped_up(run, "1"),
        run("balance", "show", "granite"),
        load(run, codes("A")),
        run("stock", "show", "--card", "1", "--face-value", "x"),
    ):
        assert "make serve" in done.error
