"""The page on restores: its lines, run as printed, bring a table of an earlier moment into the stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.ecard_helpers import WAITING, Company, add_company
from gateway.waiting import eventually
from ordering_tools.demo import training as demo
from ordering_tools.installation import ROOT
from ordering_tools.local.engine.aws_account import service_variables
from ordering_tools.local.engine.engine import connect
from ordering_tools.stacks import read_stack
from ordering_tools.template import Template
from support.local_stack import running
from support.real_stack import COMMAND, RealStack

pytestmark = pytest.mark.gateway

_PAGE = (ROOT / "docs" / "restore.md").read_text(encoding="utf-8")
_BLOCK = re.compile(r"^```(sh|sh account)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LONGEST_SECONDS = 300
_ORDER = {
    "purchaseOrderReference": "PO-1",
    "emailKeys": False,
    "orderItems": [{"featureSetId": demo.AZ_300_STANDARD.id, "quantity": 1}],
}
_MAKE = f"""\
#!{sys.executable}
# make deploy TO=prod ARGS="NAME=VALUE …": the values become the defaults of the template that the local run has, and
# that it deploys as soon as the file changes.
import os, pathlib, re, sys, time
template, printed = pathlib.Path(os.environ["DRILL_TEMPLATE"]), pathlib.Path(os.environ["DRILL_OUTPUT"])
target, section, arguments = sys.argv[1:]
assert (target, section, arguments[:5]) == ("deploy", "TO=prod", "ARGS=")
text = template.read_text()
before = printed.read_text().count("reload: ")
for name, value in (one.split("=", 1) for one in arguments[5:].split()):
    text, number = re.subn(rf"(?m)^(  {{name}}:\\n    Type: .*\\n    Default: ).*$", rf'\\g<1>"{{value}}"', text)
    assert number == 1, name
template.write_text(text)
end = time.monotonic() + 90
while printed.read_text().count("reload: ") == before:
    assert time.monotonic() < end, printed.read_text()
    time.sleep(0.1)
assert "not reloaded" not in printed.read_text(), printed.read_text()
"""


@dataclass(frozen=True)
class Drill:
    """A stack after the page's lines, and what was in it before."""

    done: subprocess.CompletedProcess[str]
    real: RealStack
    company: Company
    before: str
    """The table that was replaced."""
    waiting: dict[str, Any]
    """An order that waited for stock at the moment of the restore, and was delivered afterwards."""
    kept: int
    unfinished: int
    """A training order whose record in the stream nothing had followed at the moment."""
    lost: int
    stock_then: int
    """Free certificates at the moment."""
    handed_since: int

    def http(self) -> httpx.Client:
        return partner_of(self.real)


def partner_of(real: RealStack) -> httpx.Client:
    """The demo partner, with a token for its first business unit."""
    headers = {"Authorization": f"Bearer {real.demo_file['tokens']['trainingSingleUnit']}"}
    # There is no TLS, and reading the certificates takes longer than a request.
    return httpx.Client(base_url=real.stack.base_url, headers=headers, timeout=30, verify=False)


def path(real: RealStack, order: int | None = None) -> str:
    of = "" if order is None else f"/{order}"
    return f"/api/v2/orders{of}?businessUnitId={real.demo_file['businessUnitId']}"


def placed(real: RealStack) -> int:
    with partner_of(real) as http:
        answer = http.post(path(real), json=_ORDER)
    assert answer.status_code == 201, answer.text
    number: int = answer.json()["id"]
    return number


def status(real: RealStack, order: int) -> str:
    with partner_of(real) as http:
        found: str = http.get(path(real, order)).json()["orderStatus"]
    return found


def follow(real: RealStack, *, enabled: bool) -> None:
    """Let the orders table's stream be followed, or not."""
    functions = connect("lambda", real.services)
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        if "/stream/" in mapping["EventSourceArn"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=enabled)


def commands(folder: Path) -> Path:
    """A folder with `aws` and `make` for the page's lines."""
    folder.mkdir()
    (folder / "aws").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m support.aws.command_line "$@"\n')
    (folder / "make").write_text(_MAKE)
    for command in folder.iterdir():
        command.chmod(0o755)
    return folder


def run_page(real: RealStack, folder: Path, template: Path, backup: str) -> subprocess.CompletedProcess[str]:
    """Run the page's lines as one script, with the engine as AWS."""
    stack = real.stack
    others = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ORDERING_"))}
    return subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", "".join(text for marked, text in _BLOCK.findall(_PAGE) if marked == "sh")],
        cwd=folder,
        env={
            **others,
            **service_variables(stack.endpoint, real.services),
            "PATH": f"{commands(folder / 'bin')}:{COMMAND.parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT / 'tests'}:{os.environ.get('PYTHONPATH', '')}",
            "POINT": "2026-11-29T08:15:00Z",
            "POINT_BACKUP": backup,
            "DRILL_TEMPLATE": str(template),
            "DRILL_OUTPUT": str(stack.output),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST_SECONDS,
    )


def project(folder: Path) -> Path:
    """The template in a folder of its own, where its parameters can be set, beside the project's code."""
    folder.mkdir()
    for name in ("functions", "layers"):
        (folder / name).symlink_to(ROOT / name)
    # Of templates with one name only the last translation is kept, and other stacks use that of `template.yaml`.
    template = folder / "drill.yaml"
    template.write_bytes((ROOT / "template.yaml").read_bytes())
    return template


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    folder = tmp_path_factory.mktemp("drill")
    template = project(folder / "project")
    with ExitStack() as closing:
        stack = closing.enter_context(running(folder / "state", template=template, build=None, demo=True))
        real = RealStack(stack)
        company = add_company(real, closing, 1_000)
        company.load(4)
        company.wait(company.made(), "Delivered")
        waiting = company.made(company.card(quantity=4))
        company.wait(waiting, WAITING)
        kept = placed(real)
        assert eventually(lambda: status(real, kept) == "Completed")
        stock_then = company.free()
        follow(real, enabled=False)
        unfinished = placed(real)
        before = read_stack(real.services).outputs["OrdersTable"]
        tables = connect("dynamodb", stack.endpoint)
        backup = tables.create_backup(TableName=before, BackupName="point")["BackupDetails"]["BackupArn"]
        follow(real, enabled=True)
        company.wait(company.made(company.card(quantity=2)), "Delivered")
        lost = [placed(real) for _ in range(12)][-1]
        done = run_page(real, folder, template, backup)
        after = RealStack(stack)
        http = closing.enter_context(httpx.Client(base_url=stack.base_url, headers=company.http.headers, timeout=30))
        yield Drill(
            done=done,
            real=after,
            company=replace(company, real=after, http=http),
            before=before,
            waiting=waiting,
            kept=kept,
            unfinished=unfinished,
            lost=lost,
            stock_then=stock_then,
            handed_since=2,
        )


def test_the_lines_succeed(drill: Drill) -> None:
    """Each line of the page succeeds, one after the other, and the order books keep their promises afterwards."""
    assert drill.done.returncode == 0, f"{drill.done.stdout}\n{drill.done.stderr}"
    assert "keep their promises" in drill.done.stdout


def test_the_stack_uses_the_restored_table(drill: Drill) -> None:
    """Functions have the restored table, set as in the template, and the one before is left outside of the stack."""
    tables, stack = connect("dynamodb", drill.real.stack.endpoint), read_stack(drill.real.services)
    restored = stack.outputs["OrdersTable"]
    table = tables.describe_table(TableName=restored)["Table"]
    ttl = tables.describe_time_to_live(TableName=restored)["TimeToLiveDescription"]
    backups = tables.describe_continuous_backups(TableName=restored)["ContinuousBackupsDescription"]
    function = connect("lambda", drill.real.services).get_function_configuration(
        FunctionName=stack.resources["TrainingOrdersFunction"]
    )
    declared = Template.load(ROOT / "template.yaml").document["Resources"]["OrdersTable"]["Properties"]

    assert (restored, function["Environment"]["Variables"]["ORDERS_TABLE"]) == ("ordering-orders-restored",) * 2
    assert "OrdersTable" not in stack.resources
    assert drill.before in tables.list_tables()["TableNames"]
    assert {
        "KeySchema": table["KeySchema"],
        "GlobalSecondaryIndexes": [
            {key: index[key] for key in ("IndexName", "KeySchema", "Projection")}
            for index in table["GlobalSecondaryIndexes"]
        ],
        "StreamSpecification": {"StreamViewType": table["StreamSpecification"]["StreamViewType"]},
        "TimeToLiveSpecification": {
            "AttributeName": ttl["AttributeName"],
            "Enabled": ttl["TimeToLiveStatus"] == "ENABLED",
        },
        "PointInTimeRecoverySpecification": {
            "PointInTimeRecoveryEnabled": backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
            == "ENABLED"
        },
        "DeletionProtectionEnabled": table["DeletionProtectionEnabled"],
    } == {name: declared[name] for name in declared.keys() - {"BillingMode", "AttributeDefinitions"}}


def test_orders_of_before_are_there(drill: Drill) -> None:
    """An order from before the moment is there, one from after it is not."""
    with drill.http() as http:
        found = [http.get(path(drill.real, order)).status_code for order in (drill.kept, drill.lost)]

    assert found == [200, 404]


def test_no_number_is_given_twice(drill: Drill) -> None:
    """A new order gets a number above those of lost orders, and completes."""
    order = placed(drill.real)

    assert order > drill.lost
    assert eventually(lambda: status(drill.real, order) == "Completed")


def test_unfinished_orders_are_finished(drill: Drill) -> None:
    """An order that was unfinished at the moment, of which the new stream has no record, completes when it is due."""
    tables = connect("dynamodb", drill.real.stack.endpoint)
    key = {"pk": {"S": f"ORDER#training#{drill.unfinished}"}, "sk": {"S": "ORDER"}}
    table = read_stack(drill.real.services).outputs["OrdersTable"]
    before = status(drill.real, drill.unfinished)
    # Ten minutes pass.
    tables.update_item(
        TableName=table,
        Key=key,
        UpdateExpression="SET due = :past",
        ConditionExpression="attribute_exists(unfinished)",
        ExpressionAttributeValues={":past": {"S": "2026-01-01T00:00:00.000000Z"}},
    )

    assert before == "New"
    assert eventually(lambda: status(drill.real, drill.unfinished) == "Completed", seconds=150)


def test_no_certificate_is_given_twice(drill: Drill) -> None:
    """Certificates that were handed over after the moment are out of stock; an order that waited gets the others."""
    free = drill.company.free()
    drill.company.load(3)
    # The order's next look at its stock is caused by the stock's change, which the new stream reports.
    drill.company.wait(drill.waiting, "Delivered")

    assert (drill.stock_then, free) == (3, drill.stock_then - drill.handed_since)
