"""The page for operators: each of its lines, run as printed on a stack that has what the line is about, succeeds."""

from __future__ import annotations

import io
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import pytest

from gateway.ecard_helpers import OUTSIDE, WAITING, Company, bearer, token_of
from gateway.waiting import eventually
from ordering_tools import cli
from ordering_tools.demo import ecards as demo_ecards
from ordering_tools.demo import training as demo_training
from ordering_tools.installation import ROOT, open_stack
from ordering_tools.local.engine.aws_account import STACK, service_variables
from ordering_tools.local.engine.engine import connect
from ordering_tools.operations import commands
from support.local_stack import running
from support.real_stack import Done, RealStack

pytestmark = pytest.mark.gateway

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
LINES = [
    line.partition(" #")[0].rstrip()
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
CODES = ["QF7K-1", "QF7K-2"]
CATALOGUE = {
    "productId": demo_training.AZ_300.id,
    "productCode": "AZ-300",
    "productName": demo_training.AZ_300.name,
    "courseIds": "",
    "featureSetId": demo_training.AZ_300_STANDARD.id,
    "featureSetName": demo_training.AZ_300_STANDARD.name,
    "courseAccessPeriodDays": "180",
    "moduleSavePeriodDays": "1",
    "prices": "GBP 48",
}
"""The one line of a catalogue."""


class Answers(io.StringIO):
    """A terminal whose operator agrees to everything."""

    def __init__(self) -> None:
        super().__init__("y\n" * 10)

    def isatty(self) -> bool:
        return True


@dataclass
class Operator:
    """The stack that the page is about, and what the words stand for that the page cannot know."""

    real: RealStack
    company: Company
    training: httpx.Client
    known: dict[str, str] = field(default_factory=dict)

    def order(self, address: str) -> tuple[str, str]:
        """Place an order whose keys are mailed; returns its number, and the id of the request."""
        item = {"featureSetId": demo_training.AZ_300_STANDARD.id, "quantity": 1}
        body = {"purchaseOrderReference": "PO-1", "contactEmail": address, "emailKeys": True, "orderItems": [item]}
        answer = self.training.post("/api/v2/orders", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"]), answer.headers["x-request-id"]

    def bounced(self) -> None:
        """Have an order whose mail bounced, and one whose mail SES refused."""
        number, request = self.order("quillfeather@example.com")
        assert eventually(lambda: self.real.mails_to("quillfeather@example.com"))
        assert eventually(lambda: self.real.ordering("dev", "event", "bounce", number).code == 0)
        assert eventually(lambda: "bounced" in self.real.ordering("order", "show", number).out)
        self.known |= {"4711": number, "0ba0c2c5-0204-4429-b47c-7dde9ae2ae72": request}
        with self.real.sandbox():
            self.order(OUTSIDE["email"])
            refused = ("mail", "list", "--refused", "--since", "2h", "--json")
            assert eventually(lambda: json.loads(self.real.ordering(*refused).out))

    def waiting(self) -> None:
        """Have order 46 of the company, which waits for stock, and 47, whose mail SES refused."""
        order = self.company.made({"id": 3, "quantity": 1, "faceValue": "12 months"})
        self.company.wait(order, WAITING)
        with self.real.sandbox():
            second = self.company.made({"id": 1, "quantity": 1, "faceValue": "100 ₽"}, participant=OUTSIDE)
            self.company.wait_refused(second)

        assert (order["number"], second["number"]) == (46, 47)

    def given_up(self) -> None:
        """Have a dead mail, and three dead letters of the stream."""
        sqs = connect("sqs", self.real.services)
        mails = self.real.stack.queue("MailQueue")
        names = ["RedrivePolicy", "VisibilityTimeout"]
        usual = sqs.get_queue_attributes(QueueUrl=mails, AttributeNames=names)["Attributes"]
        policy = json.dumps({**json.loads(usual["RedrivePolicy"]), "maxReceiveCount": 1})
        sqs.set_queue_attributes(QueueUrl=mails, Attributes={"RedrivePolicy": policy, "VisibilityTimeout": "0"})
        sqs.send_message(QueueUrl=mails, MessageBody="unreadable")
        assert eventually(lambda: self.real.queued("MailDeadLetters", "unreadable"))
        sqs.set_queue_attributes(QueueUrl=mails, Attributes=usual)
        body = json.dumps(self._batch())
        stream = self.real.stack.queue("StreamDeadLetters")
        ids = [sqs.send_message(QueueUrl=stream, MessageBody=body)["MessageId"] for _ in range(3)]
        self.known |= {"ID": ids[0], "3f2a": ids[1]}

    def _batch(self) -> dict[str, Any]:
        """The message about the first record that the stream has."""
        streams, resources = connect("dynamodbstreams", self.real.stack.endpoint), self.real.stack.resources
        (stream,) = streams.list_streams(TableName=resources["OrdersTable"])["Streams"]
        arn = stream["StreamArn"]
        (shard,) = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        at = {"StreamArn": arn, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = streams.get_shard_iterator(**at)["ShardIterator"]
        first = streams.get_records(ShardIterator=iterator, Limit=1)["Records"][0]["dynamodb"]
        number, when = first["SequenceNumber"], f"{first['ApproximateCreationDateTime']:%Y-%m-%dT%H:%M:%SZ}"
        batch = {
            "streamArn": arn,
            "shardId": shard["ShardId"],
            "batchSize": 1,
            **dict.fromkeys(("startSequenceNumber", "endSequenceNumber"), number),
            **dict.fromkeys(("approximateArrivalOfFirstRecord", "approximateArrivalOfLastRecord"), when),
        }
        function = f"arn:aws:lambda:us-east-1:000000000000:function:{resources['StreamFunction']}"
        request = {"functionArn": function, "condition": "RetryAttemptsExhausted", "approximateInvokeCount": 6}
        return {"requestContext": request, "DDBStreamBatchInfo": batch}

    def run(self, line: str) -> Done:
        """Run a line of the page as an operator with a terminal does."""
        name, *words = [self.known.get(word, word) for word in shlex.split(line)]
        assert name == "ordering"
        # The engine's CloudWatch does not evaluate the patterns by which `logs` searches on a stack.
        place = ("--state", str(self.real.stack.state)) if words[0] == "logs" else ("--stack", STACK)
        with (
            pytest.MonkeyPatch.context() as patch,
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            patch.setattr("sys.stdin", Answers())
            code = cli.main([*words, *place])
        return Done(code, out.getvalue().strip(), err.getvalue().strip())


PREPARATIONS: Mapping[str, Callable[[Operator], None]] = {
    "ordering order show 4711": Operator.bounced,
    'ordering order cancel granite-rewards/46 --reason "ticket 17"': Operator.waiting,
    "ordering dead list": Operator.given_up,
}
"""What must be there before a line is run for the first time."""


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A stack of its own with the demo data: the page replaces a catalogue, and replays all dead letters."""
    with ExitStack() as closing:
        state = tmp_path_factory.mktemp("operated") / "state"
        real = RealStack(closing.enter_context(running(state, build=None, demo=True)))
        demo = real.demo_file

        def http(token: str, **parameters: str) -> httpx.Client:
            client = httpx.Client(base_url=real.stack.base_url, headers=bearer(token), params=parameters, timeout=30)
            return closing.enter_context(client)

        client = demo["clients"][demo_ecards.CLIENTS[demo_ecards.COMPANY]]
        ecards = http(token_of(real, client["clientId"], client["clientSecret"]))
        training = http(demo["tokens"]["trainingSingleUnit"], businessUnitId=demo["businessUnitId"])
        folder = tmp_path_factory.mktemp("operator")
        (folder / "uk.csv").write_text(f"{','.join(CATALOGUE)}\n{','.join(CATALOGUE.values())}\n", encoding="utf-8")
        (folder / "codes.txt").write_text("\n".join(CODES), encoding="utf-8")
        patch = closing.enter_context(pytest.MonkeyPatch.context())
        for name, value in service_variables(real.stack.endpoint, real.services).items():
            patch.setenv(name, value)
        patch.chdir(folder)
        # Each command reads the stack anew, which takes longer than most do.
        patch.setattr(commands, "open_stack", cache(open_stack))
        company = Company(real, demo_ecards.COMPANY, client["clientSecret"], ecards, ())
        yield Operator(real, company, training)


@pytest.fixture(scope="module")
def done(operator: Operator) -> dict[str, Done]:
    """How each line of the page ended, in its order."""
    outcomes: dict[str, Done] = {}
    for line in LINES:
        if line in PREPARATIONS and line not in outcomes:
            PREPARATIONS[line](operator)
        outcomes[line] = operator.run(line)
    return outcomes


def test_each_line_succeeds(done: Mapping[str, Done]) -> None:
    """All lines of the page do what they say on the stack, one after the other."""
    assert {line: how for line, how in done.items() if how.code} == {}
    assert {*PREPARATIONS} <= {*LINES}


def test_what_the_lines_did(operator: Operator, done: Mapping[str, Done]) -> None:
    """The mail went to the corrected address, the orders have their statuses, the dead letters are gone."""
    assert done
    assert eventually(lambda: operator.real.mails_to("ann@example.com"))
    assert "Cancelled" in operator.real.ordering("order", "show", "granite-rewards/46").out
    assert "Delivered" in operator.real.ordering("order", "show", "granite-rewards/47").out
    assert operator.real.queued("StreamDeadLetters", "") == operator.real.queued("MailDeadLetters", "") == []
    assert "mail sent" in done["ordering logs 4711"].out


def test_the_changes_are_in_the_audit_trail(operator: Operator, done: Mapping[str, Done]) -> None:
    """Each change of the page is noted under the caller in AWS."""
    assert done
    entries = json.loads(operator.run("ordering audit list --since 1h --json").out)
    noted = {entry["action"] for entry in entries if entry["by"].startswith("arn:aws:")}
    changes = ("mail again", "order cancel", "order move", "balance top-up", "balance correct", "catalogue import")

    assert {*changes} - noted == set()
