"""Functions of a running stack: their processes, environment, timeouts and failures."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from support.local_stack import LocalStack

pytestmark = pytest.mark.gateway


def behave(client: httpx.Client, **command: Any) -> httpx.Response:
    return client.post("/behave", json=command)


def test_environment_is_only_what_is_declared(client: httpx.Client, stack: LocalStack) -> None:
    """A function has only the environment variables of the template and of Lambda, none of the machine."""
    environment = behave(client).json()["environment"]

    assert tuple(environment[key] for key in ("GREETING", "LIMIT")) == ("hello", "3")
    assert environment["NOTES_TABLE"] == stack.resources["NotesTable"]
    assert stack.endpoint == environment["AWS_ENDPOINT_URL_DYNAMODB"]
    assert tuple(
        environment[key]
        for key in (
            "AWS_LAMBDA_FUNCTION_NAME",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
            "_HANDLER",
            "AWS_LAMBDA_LOG_FORMAT",
        )
    ) == ("BehaveFunction", "256", "app.handler", "JSON")
    assert not {"HOME", "USER", "VIRTUAL_ENV", "PYTEST_CURRENT_TEST"} & environment.keys()


def test_functions_come_from_the_build(client: httpx.Client) -> None:
    """A function runs from its folder in the build, not from the source tree."""
    found = behave(client).json()

    assert found["folder"] == f"{found['environment']['LAMBDA_TASK_ROOT']}/app.py"
    assert "/build/releases/" in found["folder"]


def test_process_is_kept_warm(client: httpx.Client) -> None:
    """Consecutive calls run in the same process."""
    first, second = (behave(client).json() for _ in range(2))

    assert first["process"] == second["process"]


@pytest.mark.timing
def test_calls_run_in_parallel(client: httpx.Client) -> None:
    """Concurrent calls run at the same time, each in its own process."""
    with ThreadPoolExecutor(4) as pool:
        answers = [answer.json() for answer in pool.map(lambda _: behave(client, sleep=0.6), range(4))]

    assert len({answer["process"] for answer in answers}) == 4
    assert max(answer["began"] for answer in answers) < min(answer["ended"] for answer in answers)


def test_calls_beyond_the_limit_wait(client: httpx.Client) -> None:
    """More than ten concurrent calls all succeed, with at most ten processes."""
    with ThreadPoolExecutor(16) as pool:
        answers = [answer.json() for answer in pool.map(lambda _: behave(client, sleep=0.3), range(16))]

    assert len(answers) == 16
    assert len({answer["process"] for answer in answers}) <= 10


@pytest.mark.timing
def test_timeout(client: httpx.Client) -> None:
    """A call that exceeds the function's timeout gets INTEGRATION_TIMEOUT after that time."""
    began = time.monotonic()
    response = behave(client, sleep=3)
    took = time.monotonic() - began

    assert (response.status_code, response.json()) == (504, {"title": "It took too long"})
    assert 1 <= took < 2


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ({"raise": "on purpose"}, "BehaveFunction: RuntimeError: on purpose"),
        ({"exit": 3}, "BehaveFunction: Runtime.ExitError: Runtime exited with error: exit status 3"),
        ({"sleep": 2}, "Task timed out after 1.00 seconds"),
    ],
)
def test_failure_is_printed_and_isolated(
    client: httpx.Client, stack: LocalStack, command: dict[str, Any], text: str
) -> None:
    """A failure affects one call only: its error is printed, and the next call succeeds."""
    failed = behave(client, **command)
    next_one = behave(client)

    assert failed.status_code in (502, 504)
    assert next_one.status_code == 200
    assert text in stack.printed()


def test_failed_init(client: httpx.Client, stack: LocalStack) -> None:
    """Each call of a function that cannot be imported is an INTEGRATION_FAILURE, and the error is printed."""
    answers = [client.get("/broken") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [502, 502]
    assert "BrokenFunction: RuntimeError: no init today" in stack.printed()


def test_output_goes_to_the_log(client: httpx.Client, stack: LocalStack) -> None:
    """The output of a function is in the log of the state folder."""
    behave(client, print="a line of its own")

    assert "a line of its own\n" in (stack.state / "functions.log").read_text()


@pytest.mark.timing
def test_warm_calls_are_fast(client: httpx.Client) -> None:
    """A warm call takes less than 20 ms, because no response waits for a second packet."""
    behave(client)
    times = []
    for _ in range(30):
        began = time.perf_counter()
        behave(client)
        times.append(time.perf_counter() - began)

    assert sorted(times)[15] < 0.02


def test_requests_are_printed(client: httpx.Client, stack: LocalStack) -> None:
    """One line is printed for each request: method, path, status and time, without the query."""
    client.get("/nowhere/at-all?secret=1")

    line = next(line for line in stack.printed().splitlines() if "/nowhere/at-all" in line)
    assert line.startswith("GET /nowhere/at-all 404 ")
    assert line.endswith(" ms")
