"""Delivery of tables' streams to functions on a running stack: form, timing, retries and order."""

import json
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.waiting import eventually
from ordering_tools.local.engine.engine import dynamodb
from ordering_tools.local.sources.dead_letters import peek_at
from support.local_stack import LocalStack, running

pytestmark = pytest.mark.gateway

FIXTURE = Path(__file__).parent / "fixture"

Item = dict[str, Any]


def item(pk: str, sk: str = "0", command: str = "") -> Item:
    return {"pk": {"S": pk}, "sk": {"S": sk}, "command": {"S": command}}


def put(stack: LocalStack, *items: Item) -> None:
    """Write items in one transaction, so that the stream has them in this order."""
    writes = [{"Put": {"TableName": "LedgerTable", "Item": each}} for each in items]
    dynamodb(stack.endpoint).transact_write_items(TransactItems=writes)  # type: ignore[arg-type] # plain data


def calls(stack: LocalStack, prefix: str) -> list[dict[str, Any]]:
    """The calls with records of items whose key starts with `prefix`."""
    log = stack.state / "functions.log"
    lines = (log.read_text() if log.exists() else stack.printed()).splitlines()
    found = [json.loads(line) for line in lines if line.startswith('{"at"') and line.endswith("}")]
    return [call for call in found if any(key.startswith(prefix) for key in keys(call))]


def keys(call: dict[str, Any]) -> list[str]:
    return [record["dynamodb"]["Keys"]["pk"]["S"] for record in call["records"]]


def delivered(stack: LocalStack, prefix: str) -> list[str]:
    return [key for call in calls(stack, prefix) for key in keys(call) if key.startswith(prefix)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the fixture that a test may change."""
    shutil.copytree(FIXTURE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "project"


def test_records_have_lambdas_form(stack: LocalStack) -> None:
    """An insert, an update and a deletion arrive in order, with old and new images, in the form of Lambda's events."""
    client, before, after = dynamodb(stack.endpoint), item("PLAIN#form"), item("PLAIN#form", command="none")
    before["bytes"] = after["bytes"] = {"B": b"\x00\xff"}
    client.put_item(TableName="LedgerTable", Item=before)
    client.put_item(TableName="LedgerTable", Item=after)
    client.delete_item(TableName="LedgerTable", Key={name: before[name] for name in ("pk", "sk")})

    assert eventually(lambda: len(delivered(stack, "PLAIN#form")) == 3)
    records = [record for call in calls(stack, "PLAIN#form") for record in call["records"]]
    images = [(each["dynamodb"].get("OldImage"), each["dynamodb"].get("NewImage")) for each in records]
    before["bytes"] = after["bytes"] = {"B": "AP8="}
    assert images == [(None, before), (before, after), (after, None)]
    assert [each["eventName"] for each in records] == ["INSERT", "MODIFY", "REMOVE"]
    assert {(each["eventSource"], each["eventVersion"], each["awsRegion"]) for each in records} == {
        ("aws:dynamodb", "1.1", "us-east-1")
    }
    assert records[0].keys() == {
        *("eventID", "eventName", "eventVersion", "eventSource", "awsRegion", "dynamodb", "eventSourceARN")
    }
    assert ":table/LedgerTable/stream/" in records[0]["eventSourceARN"]
    change = records[0]["dynamodb"]
    assert change.keys() == {
        *("ApproximateCreationDateTime", "Keys", "NewImage", "SequenceNumber", "SizeBytes", "StreamViewType")
    }
    assert abs(change["ApproximateCreationDateTime"] - time.time()) < 60
    assert change["StreamViewType"] == "NEW_AND_OLD_IMAGES"


def test_delivery_is_prompt(stack: LocalStack) -> None:
    """A warm function receives a record within 0.3 s after the write."""
    put(stack, item("PLAIN#warm"))
    assert eventually(lambda: delivered(stack, "PLAIN#warm"))
    delays: list[float] = []
    for number in range(5):
        wrote = time.time()
        put(stack, item(f"PLAIN#prompt{number}"))
        assert eventually(lambda: len(delivered(stack, "PLAIN#prompt")) == len(delays) + 1)
        delays.append(calls(stack, f"PLAIN#prompt{number}")[0]["at"] - wrote)

    assert sorted(delays)[2] < 0.3


def test_filters(stack: LocalStack) -> None:
    """A function receives exactly the records that match its patterns."""
    put(stack, item("INSERT#filtered"), item("OTHER#filtered"))
    put(stack, item("INSERT#filtered", command="changed"))
    put(stack, item("INSERT#filtered-last"))

    assert eventually(lambda: delivered(stack, "INSERT#filtered-last"))
    assert delivered(stack, "INSERT#filtered") == ["INSERT#filtered", "INSERT#filtered-last"]
    assert not delivered(stack, "OTHER#")


def test_window_and_size(stack: LocalStack) -> None:
    """Records of one batching window are delivered in one call after it; a full batch does not wait."""
    began = time.time()
    put(stack, item("WINDOW#a"))
    put(stack, item("WINDOW#b"))
    assert eventually(lambda: calls(stack, "WINDOW#a"))
    (call,) = calls(stack, "WINDOW#a")
    put(stack, *(item(f"WINDOW#full{number}") for number in range(3)))
    full = time.time()

    assert keys(call) == ["WINDOW#a", "WINDOW#b"]
    assert call["at"] - began > 3
    assert eventually(lambda: calls(stack, "WINDOW#full"))
    assert len(keys(calls(stack, "WINDOW#full")[0])) == 3
    assert calls(stack, "WINDOW#full")[0]["at"] - full < 2.5


def test_partial_failure(stack: LocalStack) -> None:
    """A reported record is delivered again with those behind it, but without those before it."""
    put(stack, item("INSERT#p1"), item("INSERT#p2"), item("INSERT#p3", command="fail"), item("INSERT#p4"))

    assert eventually(lambda: len(calls(stack, "INSERT#p")) == 5)
    tail = ["INSERT#p3", "INSERT#p4"]
    assert [keys(call) for call in calls(stack, "INSERT#p")] == [["INSERT#p1", "INSERT#p2", *tail], *[tail] * 4]


def test_exhausted_retries_are_printed(stack: LocalStack) -> None:
    """A record that is given up without a destination is printed, and later records are delivered."""
    put(stack, item("INSERT#given-up", command="fail"))
    assert eventually(lambda: delivered(stack, "INSERT#given-up"))
    put(stack, item("INSERT#behind"))

    assert eventually(lambda: delivered(stack, "INSERT#behind"))
    line = next(line for line in stack.printed().splitlines() if "Inserts: gave up 1 record of LedgerTable" in line)
    assert "after 4 calls (RetryAttemptsExhausted)" in line
    assert line.endswith("not sent: there is no on-failure destination")


def test_bisection_isolates(stack: LocalStack) -> None:
    """With bisection only the failing record gets into the on-failure queue; all others are delivered in order."""
    names = [f"BISECT#alone-{letter}" for letter in "abcdefg"]
    bad = names[3]
    put(stack, *(item(name, command="raise" if name == bad else "") for name in names))

    def good() -> list[str]:
        return [key for call in calls(stack, "BISECT#alone-") if bad not in keys(call) for key in keys(call)]

    assert eventually(lambda: names[-1] in good())
    assert good() == [name for name in names if name != bad]
    alone, again = (call for call in calls(stack, bad) if keys(call) == [bad])
    sequence = alone["records"][0]["dynamodb"]["SequenceNumber"]
    assert again["records"] == alone["records"]
    bodies = (json.loads(message["Body"]) for message in peek_at(stack.endpoint, "GivenUpQueue"))
    (sent,) = (body for body in bodies if body["DDBStreamBatchInfo"]["startSequenceNumber"] == sequence)
    assert sent["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert sent["responseContext"]["functionError"] == "Unhandled"
    batch = sent["DDBStreamBatchInfo"]
    assert (batch["endSequenceNumber"], batch["batchSize"]) == (sequence, 1)


def test_order_per_item_in_parallel(stack: LocalStack) -> None:
    """With several concurrent batches of a shard, the changes of an item are still delivered in order."""
    client = dynamodb(stack.endpoint)
    for change in range(6):
        for name in "abcdef":
            client.put_item(TableName="LedgerTable", Item=item(f"PARALLEL#{name}", command=f"sleep 0.0{change + 1}"))

    assert eventually(lambda: len(delivered(stack, "PARALLEL#")) == 36)
    found = calls(stack, "PARALLEL#")
    for name in "abcdef":
        images = [
            record["dynamodb"]["NewImage"]["command"]["S"]
            for call in found
            for record in call["records"]
            if record["dynamodb"]["Keys"]["pk"]["S"] == f"PARALLEL#{name}"
        ]
        assert images == [f"sleep 0.0{change + 1}" for change in range(6)]
    assert len({call["process"] for call in found}) > 1


def stop(stack: LocalStack) -> None:
    stack.process.send_signal(signal.SIGTERM)
    stack.process.wait(20)


def test_restart_continues(project: Path, tmp_path: Path) -> None:
    """After a stop no process is left; the next run delivers records in flight and unread ones, not done ones."""
    template, build, state = project / "template.yaml", tmp_path / "build", tmp_path / "state"
    with running(state, template=template, build=build) as stack:
        put(stack, item("PLAIN#done"))
        assert eventually(lambda: delivered(stack, "PLAIN#done"))
        put(stack, item("PLAIN#under-way", command="sleep 1.5"))
        assert eventually(lambda: delivered(stack, "PLAIN#under-way"))
        put(stack, item("PLAIN#unread"))
        (process,) = {call["process"] for call in calls(stack, "PLAIN#")}
        stop(stack)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)
    (state / "functions.log").unlink()

    with running(state, template=template, build=build, debug=True) as stack:
        assert eventually(lambda: delivered(stack, "PLAIN#unread"))
        assert delivered(stack, "PLAIN#") == ["PLAIN#under-way", "PLAIN#unread"]


def test_delivery_during_a_reload(project: Path, tmp_path: Path) -> None:
    """While code and template change all records are delivered, and soon by the new code and template."""
    template = project / "template.yaml"
    with running(tmp_path / "state", template=template, build=tmp_path / "build") as stack:
        app = project / "functions" / "stream" / "app.py"
        app.write_text(app.read_text().replace('"process":', '"version": 2, "process":'))
        template.write_text(template.read_text().replace('"prefix": "WINDOW#"', '"prefix": "NEW#"'))
        number = 0
        while number < 100 and not delivered(stack, "NEW#"):
            number += 1
            put(stack, item(f"PLAIN#{number:03}"), item(f"NEW#{number:03}"))
            time.sleep(0.1)

        written = [f"PLAIN#{each:03}" for each in range(1, number + 1)]
        assert eventually(lambda: delivered(stack, "PLAIN#")[-1:] == written[-1:])
        assert list(dict.fromkeys(delivered(stack, "PLAIN#"))) == written
        assert calls(stack, "PLAIN#")[-1]["version"] == 2
