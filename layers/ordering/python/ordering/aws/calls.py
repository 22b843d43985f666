"""Services of AWS other than DynamoDB: EventBridge, KMS, SQS and SES.

The errors of a call:

    errors.Unavailable     no response, or a fault of the service: the call may or may not have been executed
    └── NotExecuted        the call was not executed and can be retried: it never arrived, or was throttled
    CallRefused            the call was not executed; `code` is the service's reason
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from ordering.clock import Deadline
from ordering.errors import Unavailable, chain_of

if TYPE_CHECKING:
    from botocore.loaders import Loader
    from botocore.session import Session

ServiceCall = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Carries out one operation of a service, by its name in the API, and returns the response."""

Connect = Callable[..., ServiceCall]
"""Connects to a service by botocore's name for it, as `connect` does; takes `answered_within`."""

CONNECTED_WITHIN = 1.0
ANSWERED_WITHIN = 2.0
LONGEST_CALL = CONNECTED_WITHIN + ANSWERED_WITHIN
"""Seconds until a call to a service times out; SES has a longer limit of its own."""

P = ParamSpec("P")
R = TypeVar("R")

_THROTTLED = frozenset({"RequestThrottled", "Throttling", "ThrottlingException"})
_FAULTS = frozenset({"InternalException", "InternalFailure"})


class NotExecuted(Unavailable):
    """The service was not reached, or throttled the call: nothing was executed."""


class CallRefused(Exception):
    """The service refused the call; `code` is the reason in its API."""

    def __init__(self, operation: str, code: str) -> None:
        """Keep the code only: the service's message may hold addresses, which must not be logged."""
        super().__init__(f"{operation}: {code}")
        self.code = code


def connect(service: str, *, answered_within: float = ANSWERED_WITHIN, **settings: Any) -> ServiceCall:
    """Return a connection that is opened by the first call: many functions never call the service.

    It uses botocore's own credentials, region and endpoint resolution, and raises the module's errors.

    Args:
        answered_within: Seconds until a call times out.
        settings: Further arguments of botocore's `create_client`, for instance `endpoint_url`.
    """
    made: list[ServiceCall] = []

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if not made:
            made.append(_connection(service, answered_within, settings))
        return made[0](operation, request)

    return call


def new_session() -> Session:
    """Return a session of botocore; all of a process read the definitions of AWS's services once."""
    from botocore.session import get_session  # noqa: PLC0415 - as in `_connection`

    session = get_session()
    session.register_component("data_loader", _definitions(session.get_config_variable("data_path")))
    return session


def until(call: Callable[P, R], deadline: Deadline) -> Callable[P, R]:
    """Return a call that is not begun after a deadline, so that the function that makes it ends before its timeout.

    After the deadline it raises `NotExecuted`.
    """

    @wraps(call)
    def limited(*args: P.args, **kwargs: P.kwargs) -> R:
        if deadline.passed():
            raise NotExecuted("the deadline passed before the call")
        return call(*args, **kwargs)

    return limited


def unavailable(operation: str, request: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - the signature of `ServiceCall`
    """Stand in for a service that a process is not connected to.

    Raises:
        NotExecuted: Always.
    """
    raise NotExecuted


def failure_of(endpoint: str, error: BaseException) -> str:
    """Return the reason why an endpoint did not respond, for logs: its host, the error's class and the system's error.

    Nothing else of the error is quoted: a URL may contain a password, and a response contents of a request.
    """
    host = endpoint.partition("//")[2].partition("/")[0].rpartition("@")[2]
    # The first may be an OSError of botocore's own, whose text has the whole URL.
    causes = [str(cause) for cause in chain_of(error)[1:] if isinstance(cause, OSError)]
    return ": ".join([host, type(error).__name__, *causes[-1:]])


def error_of(operation: str, code: str, status: int) -> Exception:
    """Return the module's error for an error response, by its code and status."""
    # A response without a code is not the service's: a proxy in between may have forwarded the call.
    if status >= 500 or code in _FAULTS or not code[:1].isalpha():
        return Unavailable(f"{operation}: {status} {code}")
    return NotExecuted(f"{operation}: {code}") if code in _THROTTLED else CallRefused(operation, code)


def _connection(service: str, answered_within: float, settings: Mapping[str, Any]) -> ServiceCall:
    # Imported here so that a process that never connects does not load botocore.
    from botocore import xform_name  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import (  # noqa: PLC0415
        ClientError,
        ConnectionError,  # noqa: A004
        ConnectTimeoutError,
        EndpointConnectionError,
        HTTPClientError,
    )

    client = new_session().create_client(
        service,
        config=Config(
            connect_timeout=CONNECTED_WITHIN,
            read_timeout=answered_within,
            # The callers retry: botocore knows no deadline.
            retries={"total_max_attempts": 1},
        ),
        **settings,
    )

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(client, xform_name(operation))(**request)
        except (ConnectTimeoutError, EndpointConnectionError) as error:
            raise NotExecuted(failure_of(client.meta.endpoint_url, error)) from error
        except (ConnectionError, HTTPClientError) as error:
            raise Unavailable(failure_of(client.meta.endpoint_url, error)) from error
        except ClientError as error:
            raise error_of(operation, error.response["Error"]["Code"], _status(error.response)) from error
        return answer

    return call


@cache
def _definitions(path: str | None) -> Loader:
    from botocore.loaders import create_loader  # noqa: PLC0415 - as in `_connection`

    return create_loader(path)


def _status(response: Any) -> int:
    status: int = response["ResponseMetadata"]["HTTPStatusCode"]
    return status
