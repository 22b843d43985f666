"""`ordering partner` and `contact`: who may order what, and the people of business units."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

from ordering import values
from ordering.aws.dynamodb import NoAnswer
from ordering.clock import system_clock
from ordering.errors import Conflict
from ordering.identity.accounts import Accounts, Contact, Partner
from ordering.principal import DealTerms
from ordering_tools import cli
from ordering_tools.__main__ import INTERRUPTED
from ordering_tools.audit import AuditEntry, entries
from ordering_tools.installation import Installation
from ordering_tools.operations import commands
from ordering_tools.operations.usage_tiers import TIERS
from ordering_tools.stacks import Stack
from support.aws.kms import MemoryKms
from support.aws.memory import Memory
from support.aws.usage import PLANS, MemoryUsage
from support.commands import Done
from support.partners import IRELAND, JOHN, PARTNER, TAILSPIN, UK

Run = Callable[..., Done]

ADD = ("partner", "add", "granite", "--user", "Ann van Lee <ann@granite.example>")
TRAINING = ("--grant", "training", "--unit", "North")
WHY = ("--reason", "ticket 17")
CSV = "email,forename,surname\n"


@pytest.fixture
def gateway() -> MemoryUsage:
    """API Gateway with the plans of the stack."""
    return MemoryUsage()


@pytest.fixture
def site(gateway: MemoryUsage) -> Installation:
    """An installation with two partners."""
    made = Installation(Memory(), MemoryKms(), None, "", "", stack=Stack(resources=PLANS), connect=gateway)
    for one in (PARTNER, TAILSPIN):
        Accounts(made.accounts).save_partner(one)
    return made


@pytest.fixture
def accounts(site: Installation) -> Accounts:
    return Accounts(site.accounts)


@pytest.fixture
def run(site: Installation, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `ordering` with arguments."""
    monkeypatch.setattr(commands, "reopen", lambda _: site)

    def command(*words: str) -> Done:
        code = cli.main([*words])
        return Done(code, *capsys.readouterr())

    return command


def noted(site: Installation) -> list[AuditEntry]:
    return [*entries(site.accounts, f"{system_clock():%Y-%m}")]


def partner(accounts: Accounts, partner_id: str = PARTNER.id) -> Partner:
    found = accounts.partner(partner_id)
    assert found
    return found


# Partners ------------------------------------------------------------------------------------------------------------


def test_added(run: Run, accounts: Accounts) -> None:
    """A new partner has what the options say, new ids, and what is usual for the rest."""
    done = run(
        *ADD, *TRAINING, "--unit", f"{IRELAND.id[:-1]}9=South", "--grant", "ecards", "--company", "Granite", "--json"
    )
    shown, granite = json.loads(done.output), partner(accounts, "granite")
    (ann,) = granite.users.values()

    assert (granite.active, granite.payment_terms, granite.grants) == (
        True,
        "invoice",
        frozenset({"training", "ecards"}),
    )
    assert [unit.name for unit in granite.business_units] == ["North", "South"]
    assert granite.business_units[1].id == f"{IRELAND.id[:-1]}9"
    assert (ann.forename, ann.surname, ann.user_name) == ("Ann", "van Lee", "ann@granite.example")
    assert (granite.company, granite.deals, granite.usage_tier) == ("Granite", None, "standard")
    assert granite.order_source.invoiceable
    assert shown["businessUnits"][0] == {"id": granite.business_units[0].id, "name": "North"}
    assert shown["users"] == [{"id": ann.id, "name": "Ann van Lee", "userName": "ann@granite.example"}]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((*ADD, "--grant", "training"), "grant training needs a business unit"),
        ((*ADD, "--grant", "deals"), "grant deals needs a plan: --plan enterprise"),
        ((*ADD, "--grant", "ecards"), "grant ecards needs a company: --company NAME"),
        ((*ADD, "--grant", "ecard-certificates"), "needs --grant ecards"),
        ((*ADD, "--grant", "training-keys"), "needs --grant training"),
        (ADD, "it has no grant: --grant training"),
        (("partner", "add", "granite", *TRAINING), "it has no user"),
        ((*ADD, *TRAINING, "--changes", "disabled"), "has no plan; say which with --plan"),
        ((*ADD, *TRAINING, "--unit", f"{UK.id}=Mine"), f"business unit {UK.id} is partner northwind's"),
        (("partner", "add", "a b", *ADD[3:], *TRAINING), "a partner's id has 1 to 128 letters"),
        (("partner", "add", "", *ADD[3:], *TRAINING), "a partner's id has 1 to 128 letters"),
        (("partner", "add", PARTNER.id, *ADD[3:], *TRAINING), "'northwind' exists already; change it with"),
    ],
)
def test_not_added(run: Run, accounts: Accounts, words: tuple[str, ...], error: str, site: Installation) -> None:
    """A partner that could not order, or whose id or units are another's, is refused, and nothing is written."""
    before = sorted(accounts.partners(), key=lambda one: one.id)

    assert error in run(*words).error
    assert sorted(accounts.partners(), key=lambda one: one.id) == before
    assert noted(site) == []


@pytest.mark.parametrize(
    "words",
    [
        ("--grant", "everything"),
        ("--unit", ""),
        ("--unit", "a\x07b"),
        ("--unit", "x" * 101),
        ("--user", "Ann"),
        ("--user", "Ann <nonsense>"),
        ("--user", "<ann@example.com>"),
        ("--company", " Granite"),
        ("--plan", "free"),
        ("--tier", "gold"),
    ],
)
def test_wrong_options(run: Run, accounts: Accounts, words: tuple[str, ...]) -> None:
    """A value that no partner can have is wrong usage, and nothing is written."""
    done = run(*ADD, *TRAINING, *words)

    assert (done.code, done.output, "Traceback" in done.errors) == (2, "", False)
    assert accounts.partner("granite") is None


def test_only_named_fields_are_set(run: Run, accounts: Accounts) -> None:
    """`set` changes the fields that it names, adds to lists, and leaves the rest."""
    run("partner", "set", PARTNER.id, "--unit", "Wales", "--grant", "deals", "--plan", "basic", "--payment", "card")
    changed = partner(accounts)
    (wales,) = changed.business_units[2:]

    assert changed == values.replace(
        PARTNER,
        business_units=(UK, IRELAND, wales),
        grants=frozenset({"training", "deals"}),
        deals=DealTerms("basic"),
        payment_terms="card",
    )
    run("partner", "set", PARTNER.id, "--remove-unit", UK.id, "--remove-grant", "deals", "--unit", f"{wales.id}=Cymru")
    assert [unit.name for unit in partner(accounts).business_units] == ["Ireland", "Cymru"]
    assert partner(accounts).grants == {"training"}


def test_users_are_changed_by_their_address(run: Run, accounts: Accounts) -> None:
    """A user that the partner has keeps its id; another address is a new user."""
    run(
        "partner",
        "set",
        PARTNER.id,
        "--user",
        f"Jon Smith <{JOHN.user_name.upper()}>",
        "--user",
        "Eve <eve@example.com>",
    )
    first, second = partner(accounts).users.values()

    assert (first.id, first.forename, second.forename, second.surname) == (JOHN.id, "Jon", "Eve", "")
    run("partner", "set", PARTNER.id, "--remove-user", JOHN.id)
    assert [*partner(accounts).users] == [second.id]


def tier_of(gateway: MemoryUsage, accounts: Accounts, partner_id: str = PARTNER.id) -> tuple[str | None, str | None]:
    """A partner's tier, and the plan that its key is in."""
    found = partner(accounts, partner_id)
    assert found.usage_key
    return found.usage_tier, gateway.plan_of(found.usage_key)


def test_a_new_partner_has_a_tier(run: Run, accounts: Accounts, gateway: MemoryUsage, site: Installation) -> None:
    """A new partner has a key in the plan of each tier, and the standard tier counts unless another one is named."""
    standard, premium = run(*ADD, *TRAINING), run("partner", "add", "tin", *ADD[3:], *TRAINING, "--tier", "premium")

    assert tier_of(gateway, accounts, "granite") == ("standard", "StandardPlan")
    assert tier_of(gateway, accounts, "tin") == ("premium", "PremiumPlan")
    assert [len(keys) for keys in gateway.planned.values()] == [2, 2, 2]
    assert {one["name"] for one in gateway.keys} == {
        f"ordering.{of}.{tier}" for of in ("granite", "tin") for tier in TIERS
    }
    assert [one.after["tier"] for one in noted(site)] == ["standard", "premium"]
    assert not [one for one in gateway.keys if one["value"] in standard.output + premium.output + repr(noted(site))]


def test_a_tier_is_changed_by_one_write(run: Run, accounts: Accounts, gateway: MemoryUsage, site: Installation) -> None:
    """A change of the tier calls nothing that writes but the table, and is noted; the key of the other tier counts."""
    run(*ADD, *TRAINING)
    gateway.accesses.clear()
    done = run("partner", "set", "granite", "--tier", "basic", *WHY)

    assert tier_of(gateway, accounts, "granite") == ("basic", "BasicPlan")
    assert {access.action for access in gateway.accesses} == {"apigateway:GET"}
    assert (noted(site)[1].before, noted(site)[1].after) == ({"tier": "standard"}, {"tier": "basic"})
    assert "tier           basic" in [line.rstrip() for line in done.output.splitlines()]
    assert "nothing of partner 'granite' would change" in run("partner", "set", "granite", "--tier", "basic").error


def test_a_partner_of_an_earlier_release_gets_a_tier(run: Run, accounts: Accounts, gateway: MemoryUsage) -> None:
    """A partner without a key keeps it so with other changes, and gets one with `--tier`."""
    run("partner", "set", PARTNER.id, "--payment", "card")
    assert (partner(accounts).usage_tier, gateway.keys) == (None, [])

    run("partner", "set", PARTNER.id, "--tier", "standard")
    assert tier_of(gateway, accounts) == ("standard", "StandardPlan")


def test_a_key_that_is_not_in_its_plan(run: Run, accounts: Accounts, gateway: MemoryUsage, site: Installation) -> None:
    """A key that was taken out of its plan is put back by naming the tier again, which is noted."""
    run("partner", "set", PARTNER.id, "--tier", "standard")
    before = partner(accounts)
    gateway.planned[PLANS["StandardPlan"]].clear()
    run("partner", "set", PARTNER.id, "--tier", "standard", *WHY)

    assert tier_of(gateway, accounts) == ("standard", "StandardPlan")
    assert partner(accounts) == before
    assert noted(site)[-1].reason == "ticket 17"


@pytest.mark.parametrize("words", [(*ADD, *TRAINING), ("partner", "set", PARTNER.id, "--tier", "standard")])
def test_interrupted_between_calls(
    run: Run, accounts: Accounts, gateway: MemoryUsage, site: Installation, words: tuple[str, ...]
) -> None:
    """Killed before any call to API Gateway, a command leaves the partner as it was; the next run completes it."""
    before = sorted(accounts.partners(), key=lambda one: one.id)
    crashes = 0

    def crash_at(call: int) -> None:
        calls = 0

        def count(_: str) -> None:
            nonlocal calls
            calls += 1
            if calls == call:
                raise KeyboardInterrupt

        gateway.before = count

    for call in range(1, 50):
        crash_at(call)
        if run(*words).code != INTERRUPTED:
            break
        crashes += 1
        assert sorted(accounts.partners(), key=lambda one: one.id) == before
        assert noted(site) == []

    assert crashes > len(TIERS)
    assert len(gateway.keys) == len(TIERS)
    assert tier_of(gateway, accounts, words[2]) == ("standard", "StandardPlan")


def test_api_gateway_does_not_answer(run: Run, accounts: Accounts, gateway: MemoryUsage) -> None:
    """A failure of API Gateway is reported with what to do, and nothing is written."""

    def refuse(_: str) -> None:
        raise EndpointConnectionError(endpoint_url="https://apigateway")

    gateway.before = refuse

    assert "run the command again, it goes on" in run(*ADD, *TRAINING).error
    assert accounts.partner("granite") is None


def test_a_stack_without_plans(run: Run, site: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a stack of an earlier release a tier is refused with what to do."""
    monkeypatch.setattr(commands, "reopen", lambda _: replace(site, stack=Stack()))

    assert "has no BasicPlan; deploy the template of this release first" in run(*ADD, *TRAINING).error


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "nothing of partner 'northwind' would change"),
        (("--unit", "UK"), "nothing of partner 'northwind' would change"),
        (("--remove-unit", "x"), "has no business unit x; see `ordering partner show northwind`"),
        (("--remove-grant", "deals"), "has no grant deals"),
        (("--remove-user", "x"), "has no user x"),
        (("--remove-user", JOHN.id), "it has no user"),
        (("--remove-grant", "training"), "it has no grant"),
        (("--grant", "ecards"), "grant ecards needs a company"),
        (("--unit", f"{IRELAND.id}=UK"), f"business unit {UK.id} has the name 'UK' already"),
        (("--user", f"{UK.id}=J <{JOHN.user_name}>"), f"user {JOHN.id} has the address"),
    ],
)
def test_not_set(run: Run, accounts: Accounts, words: tuple[str, ...], error: str, site: Installation) -> None:
    """What is unknown, would change nothing, or would leave a partner that cannot order, is refused."""
    assert error in run("partner", "set", PARTNER.id, *words).error
    assert partner(accounts) == PARTNER
    assert noted(site) == []


def test_two_operators(accounts: Accounts, site: Installation) -> None:
    """A change is refused if a field that it changes was changed since; changes of different fields do not collide."""
    after = values.replace(PARTNER, payment_terms="card")
    raced = Accounts(site.accounts)

    def overtaking(field: str, value: Any) -> Accounts:
        """Accounts in whose first update another operator's comes first."""

        def send(operation: str, request: dict[str, Any]) -> Any:
            if operation == "UpdateItem" and "payment" in repr(request):
                now = partner(raced)
                raced.change_partner(now, values.replace(now, **{field: value}))
            return site.send(operation, request)

        return Accounts(replace(site, send=send).accounts)

    overtaking("company", "Northwind Ltd").change_partner(PARTNER, after)
    assert partner(accounts) == values.replace(after, company="Northwind Ltd")
    with pytest.raises(Conflict, match="Partner northwind was changed at the same time"):
        accounts.change_partner(PARTNER, after)
    accounts.save_partner(PARTNER)
    with pytest.raises(Conflict, match="try again"):
        overtaking("payment_terms", "card").change_partner(PARTNER, values.replace(PARTNER, payment_terms="other"))  # type: ignore[arg-type] # another value
    assert partner(accounts) == after


def test_an_answer_that_gets_lost(accounts: Accounts, site: Installation) -> None:
    """An update or an addition that took effect although its answer got lost is no conflict when it is tried again."""
    sent: list[str] = []

    def send(operation: str, request: dict[str, Any]) -> Any:
        answer = site.send(operation, request)
        if operation in {"UpdateItem", "PutItem"} and operation not in sent:
            sent.append(operation)
            raise NoAnswer
        return answer

    unreliable = Accounts(replace(site, send=send).accounts)
    unreliable.change_partner(PARTNER, values.replace(PARTNER, payment_terms="card"))
    unreliable.add_partner(values.replace(PARTNER, id="granite"))

    assert sent == ["UpdateItem", "PutItem"]
    assert partner(accounts).payment_terms == "card"


def test_disabled_and_enabled(run: Run, accounts: Accounts, site: Installation) -> None:
    """A partner is disabled and enabled, each with a reason that is kept."""
    assert run("partner", "disable", PARTNER.id).code == 2
    run("partner", "disable", PARTNER.id, *WHY)
    assert not partner(accounts).active
    run("partner", "enable", PARTNER.id, *WHY)

    assert partner(accounts) == PARTNER
    assert [(one.action, one.subject, one.reason, one.before, one.after) for one in noted(site)] == [
        ("partner disable", "partner northwind", "ticket 17", {"active": True}, {"active": False}),
        ("partner enable", "partner northwind", "ticket 17", {"active": False}, {"active": True}),
    ]


def test_shown_and_listed(run: Run) -> None:
    """A partner is shown with its units and users; the list has all partners by id, with their tiers."""
    run("partner", "set", PARTNER.id, "--tier", "premium")
    lines = run("partner", "show", PARTNER.id).output.splitlines()
    listed = [line.split() for line in run("partner", "list").output.splitlines()]

    assert "partner        northwind" in [line.rstrip() for line in lines]
    assert f"{UK.id}  UK     " in lines
    assert f"{JOHN.id}  John Smith <johnsmith@example.com>" in lines
    assert listed == [
        ["partner", "state", "tier", "grants"],
        ["northwind", "enabled", "premium", "training"],
        ["tailspin", "enabled", "training"],
    ]
    assert run("partner", "show", "nobody").error == "there is no partner 'nobody'; see `ordering partner list`"
    assert run("partner", "show", "x" * 3_000).code == 1


def test_people_are_not_in_the_audit_trail(run: Run, site: Installation) -> None:
    """An entry has the ids of users, and neither names nor addresses."""
    run(*ADD, *TRAINING)
    (entry,) = noted(site)

    assert entry.after["businessUnits"][0].endswith(" North")
    assert "Ann" not in repr(entry)
    assert "ann@granite" not in repr(entry)


# Contacts ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "contacts"


@pytest.mark.parametrize("unit", [UK.name, UK.id.upper()])
@pytest.mark.parametrize(
    "text",
    [
        f"{CSV}Ann@Example.com,Ann,Lee\nbob@example.com,Bob,O'Neil\n",
        "\ufeffsurname;email;forename\r\nLee;ann@example.com;Ann\r\n\r\nO'Neil;bob@example.com;Bob\r\n",
        (
            '{"email": "ann@example.com", "forename": "Ann", "surname": "Lee"}\n\n'
            '{"email": "bob@example.com", "forename": "Bob", "surname": "O\'Neil"}'
        ),
    ],
    ids=["CSV", "CSV of a spreadsheet", "JSON Lines"],
)
def test_imported(run: Run, accounts: Accounts, file: Path, text: str, unit: str) -> None:
    """Contacts of a file are added; imported again, they are as they were."""
    file.write_text(text, encoding="utf-8", newline="")
    words = ("contact", "import", PARTNER.id, str(file), "--unit", unit)

    assert run(*words).output == "2 added, 0 changed, 0 as they were\n"
    assert [*accounts.contacts(UK.id)] == [
        ("ann@example.com", Contact("Ann", "Lee")),
        ("bob@example.com", Contact("Bob", "O'Neil")),
    ]
    assert run(*words).output == "0 added, 0 changed, 2 as they were\n"


def test_imported_into_several_units(run: Run, accounts: Accounts, file: Path) -> None:
    """A file can name the business unit of each contact; a contact of it that is there already is changed."""
    accounts.save_contact(UK.id, "ann@example.com", Contact("A", "L"))
    file.write_text(f"unit,{CSV}{UK.id},ann@example.com,Ann,Lee\n{IRELAND.name},ann@example.com,Ann,Lee\n")
    done = run("contact", "import", PARTNER.id, str(file), "--json")

    assert json.loads(done.output) == {"partner": "northwind", "added": 1, "changed": 1, "same": 0}
    assert (
        accounts.contact(UK.id, "ann@example.com")
        == accounts.contact(IRELAND.id, "ann@example.com")
        == Contact("Ann", "Lee")
    )


def test_all_faults_are_named(run: Run, accounts: Accounts, file: Path, site: Installation) -> None:
    """Every fault is named by its line, and nothing is written."""
    file.write_text(
        f"{CSV}ann@example.com,Ann,Lee\nnonsense,Bob,O\nbob@example.com,Bob\nANN@example.com,Ann,Li\ncy@example.com,,Y\n"
    )
    done = run("contact", "import", PARTNER.id, str(file), "--unit", UK.id)

    assert done.errors == f"{file} has 4 faults; nothing was written\n"
    assert done.output.splitlines() == [
        "line 3: 'nonsense' is no e-mail address",
        "line 4: has 2 columns and not 3",
        "line 5: ann@example.com is in line 2 already",
        "line 6: 'forename' is missing",
    ]
    assert [*accounts.contacts(UK.id)] == []
    assert noted(site) == []


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "'email' is missing"),
        (CSV.encode(), "has no contacts"),
        (b"email,forename\n", "line 1: 'surname' is missing"),
        (b"email,forename,surname,age\n", "line 1: 'age' is not a field here"),
        (b"email,email,forename,surname\n", "line 1: has a name twice"),
        (f"{CSV}a@b.example,A,B\n".encode("utf-16"), "line 1: is not in UTF-8"),
        (b"\x00\x01", "line 1: "),
        (f'{CSV}"a@b.example,A,B\n'.encode(), "line 2: is not CSV"),
        (b'{"email": 1}\n', "line 1: must be a JSON object whose values are texts"),
        (
            b'{"email": "a@b.example", "forename": "\\u200b", "surname": "B"}\n',
            "line 1: a name has 1 to 100 characters",
        ),
        (b"{" * 100_000, "line 1: is not JSON"),
    ],
)
def test_files_that_cannot_be_imported(run: Run, accounts: Accounts, file: Path, content: bytes, error: str) -> None:
    """A file that is not what it should be is refused in words, and nothing is written."""
    file.write_bytes(content)

    done = run("contact", "import", PARTNER.id, str(file), "--unit", UK.id)
    assert done.code == 1
    assert error in done.output + done.errors
    assert [*accounts.contacts(UK.id)] == []


def test_no_file(run: Run, tmp_path: Path) -> None:
    """A file that is not there, or is a folder, is wrong usage."""
    for path in (tmp_path, tmp_path / "none"):
        assert run("contact", "import", PARTNER.id, str(path), "--unit", UK.id).code == 2


def test_many_contacts(
    run: Run, accounts: Accounts, file: Path, monkeypatch: pytest.MonkeyPatch, site: Installation
) -> None:
    """Contacts are written in transactions with one entry in the audit trail; an import that broke off goes on."""
    file.write_text(CSV + "".join(f"c{number}@example.com,C,{number}\n" for number in range(250)))
    calls = 0

    def breaking(operation: str, request: dict[str, Any]) -> Any:
        nonlocal calls
        calls += operation == "TransactWriteItems"
        if calls == 3:
            raise KeyboardInterrupt
        return site.send(operation, request)

    words = ("contact", "import", PARTNER.id, str(file), "--unit", UK.id)
    with monkeypatch.context() as patched:
        patched.setattr(commands, "reopen", lambda _: replace(site, send=breaking))
        assert run(*words).code == INTERRUPTED
    assert len([*accounts.contacts(UK.id)]) == 198
    assert run(*words).output == "52 added, 0 changed, 198 as they were\n"
    assert [one.after for one in noted(site)] == [
        {"added": 250, "changed": 0, "same": 0},
        {"added": 52, "changed": 0, "same": 198},
    ]


@pytest.mark.parametrize("unit", [(), ("--unit", "x"), ("--unit", TAILSPIN.business_units[0].id)])
def test_units_of_contacts(run: Run, file: Path, unit: tuple[str, ...]) -> None:
    """Of several business units one must be named, and it must be the partner's."""
    file.write_text(f"{CSV}ann@example.com,Ann,Lee\n")
    commands_of_units = [
        ("contact", "import", PARTNER.id, str(file)),
        ("contact", "add", PARTNER.id, "a@b.example", "A", "B"),
    ]

    for words in commands_of_units:
        done = run(*words, *unit)
        assert done.code == 1
        assert f"name one of northwind's business units with --unit: {UK.id} (UK)" in done.output + done.errors


def test_contacts_by_name(run: Run) -> None:
    """Contacts are listed by a part of their name, in upper or lower case."""
    for email, forename, surname in (("ann@example.com", "Ann", "Lee"), ("bob@example.com", "Bob", "Brown")):
        run("contact", "add", "tailspin", email, forename, surname)
    listed = run("contact", "list", "tailspin", "--name", "ann l", "--json").output

    assert [one["email"] for one in json.loads(listed)] == ["ann@example.com"]
    assert run("contact", "list", "tailspin", "--name", "eve").output == "no contact's name has 'eve'\n"


def test_one_contact(run: Run, accounts: Accounts, site: Installation) -> None:
    """A contact is added without naming the only business unit, changed, and listed."""
    (unit,) = TAILSPIN.business_units
    assert run("contact", "add", "tailspin", "Ann@Example.com", "Ann", "Lee").output == "Ann@Example.com is added\n"
    assert run("contact", "add", "tailspin", "ann@example.com", "Ann", "Li").output == "ann@example.com is changed\n"

    assert accounts.contact(unit.id, "ann@example.com") == Contact("Ann", "Li")
    assert [line.split() for line in run("contact", "list", "tailspin").output.splitlines()] == [
        ["email", "forename", "surname"],
        ["ann@example.com", "Ann", "Li"],
    ]
    assert "ann" not in repr(noted(site)).lower()
    assert run("contact", "list", PARTNER.id).output == "no contacts; add some with `ordering contact import`\n"
    assert "is no e-mail address" in run("contact", "add", "tailspin", "nonsense", "A", "B").error
    assert "a name has 1 to 100" in run("contact", "add", "tailspin", "a@b.example", " A", "B").error
