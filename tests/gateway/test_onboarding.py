"""The page for operators of a new stack: its lines, run as printed, bring a partner to its first order."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from ordering_tools.installation import ROOT
from ordering_tools.local.engine.aws_account import service_variables
from ordering_tools.local.engine.mails import Mail, sent_mails
from ordering_tools.local.engine.state import find
from support.local_stack import LocalStack, running
from support.real_stack import COMMAND, RealStack
from support.scripts import blocks, run_lines

pytestmark = pytest.mark.gateway

_PAGE = ROOT / "docs" / "onboarding.md"
_KEY = re.compile(r"\b[0-9A-Z]{5}(?:-[0-9A-Z]{5}){4}\b")
_CODE = re.compile(r"\b\d{4}(?:-\d{4}){3}\b")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The project's stack as CloudFormation leaves it: no key signs, and there is no partner."""
    with running(tmp_path_factory.mktemp("empty") / "state", build=None) as stack:
        yield stack


@pytest.fixture(scope="module")
def done(empty: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """The page's lines, run as one script with the engine as AWS."""
    found = find(empty.state)
    assert found
    variables = service_variables(found.endpoint, found.services)
    path = f"{COMMAND.parent}:{os.environ['PATH']}"
    return run_lines(_PAGE, tmp_path_factory.mktemp("operator"), {**variables, "PATH": path, "URL": empty.base_url})


def _mails(stack: LocalStack) -> list[Mail]:
    return sent_mails(RealStack(stack).services)


def test_the_page_leads_from_an_empty_stack_to_an_order(done: subprocess.CompletedProcess[str]) -> None:
    """Each line of the page succeeds, one after the other, on the stack that CloudFormation deployed."""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_first_order_completes(empty: LocalStack, done: subprocess.CompletedProcess[str]) -> None:
    """The order of the page completes, and its contact is mailed the two access keys, once."""
    shown = RealStack(empty).ordering("order", "show", "PO-1", "--json")
    mails = [mail for mail in _mails(empty) if "ann@fabrikam.example" in mail.recipients]

    assert '"Completed"' in shown.out, done.stdout
    assert [len({*_KEY.findall(mail.text)}) for mail in mails] == [2]


def test_the_first_order_of_cards_is_delivered(empty: LocalStack, done: subprocess.CompletedProcess[str]) -> None:
    """The company's order is delivered: its participant gets two certificates, and the balance has paid for them."""
    stack = RealStack(empty)
    shown = json.loads(stack.ordering("order", "show", "fabrikam-rewards/1", "--json").out)
    (mail,) = (mail for mail in _mails(empty) if "eve@fabrikam.example" in mail.recipients)

    assert shown["status"] == "Delivered", done.stdout
    assert len(_CODE.findall(mail.text)) == 2
    assert json.loads(stack.ordering("balance", "show", "fabrikam-rewards", "--json").out)["balance"] == "50.00"


def test_the_first_order_of_a_deal_has_a_line(empty: LocalStack, done: subprocess.CompletedProcess[str]) -> None:
    """The account's order has its deal and a line item of three products."""
    shown = json.loads(RealStack(empty).ordering("order", "show", "fabrikam-crm/1", "--json").out)

    assert (shown["deal"], shown["discount"]) == ("1", "5"), done.stdout
    assert [(line["name"], line["quantity"]) for line in shown["lines"]] == [("Licence", 3)]


def test_the_changes_are_in_the_audit_trail(empty: LocalStack, done: subprocess.CompletedProcess[str]) -> None:
    """Each change of the page is noted under the caller in AWS, with its reason."""
    assert done.returncode == 0
    listed = RealStack(empty).ordering("audit", "list", "--since", "1h", "--json").out
    changes = (
        *("key add", "key use", "partner add", "contact import", "catalogue import", "client add", "token issue"),
        *("ecards import", "stock load", "balance top-up"),
    )

    assert [change for change in changes if f'"{change}"' not in listed] == []
    assert "arn:aws:" in listed


def test_lines_that_are_not_run_are_those_of_the_account() -> None:
    """Of the commands, only the one that judges the account itself is marked as not run."""
    skipped = re.findall(r"^.*\bordering .*$", "".join(blocks(_PAGE, "sh account")), re.MULTILINE)

    assert [line for line in skipped if not line.startswith("aws ")] == ["ordering doctor"]
    marked = len(blocks(_PAGE, "sh")) + len(blocks(_PAGE, "sh account"))
    assert marked == _PAGE.read_text(encoding="utf-8").count("\n```sh")
