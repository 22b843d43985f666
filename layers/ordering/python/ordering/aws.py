"""Services of AWS that are called now and then: EventBridge and SQS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ordering.errors import Unavailable

Call = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Carries out one operation of a service, by its name in the API, and returns its answer."""

CONNECTED_WITHIN = 1.0
ANSWERED_WITHIN = 2.0

_TRANSIENT = frozenset(
    {"InternalException", "InternalFailure", "RequestThrottled", "Throttling", "ThrottlingException"},
)


def connect(service: str, **settings: Any) -> Call:
    """Make a connection with botocore's own credentials, region and endpoint resolution.

    What it returns raises `Unavailable` where the service throttles, fails or does not answer.

    Args:
        settings: Further arguments of botocore's `create_client`, for instance `endpoint_url`.
    """
    # Imported here, as in `table`.
    from botocore import xform_name  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError  # noqa: A004, PLC0415
    from botocore.session import get_session  # noqa: PLC0415

    client = get_session().create_client(
        service,
        config=Config(
            connect_timeout=CONNECTED_WITHIN,
            read_timeout=ANSWERED_WITHIN,
            # Retries are the callers': botocore knows no deadline.
            retries={"total_max_attempts": 1},
        ),
        **settings,
    )

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(client, xform_name(operation))(**request)
        except (ConnectionError, HTTPClientError) as error:
            raise Unavailable from error
        except ClientError as error:
            body: Mapping[str, Any] = error.response
            if body["Error"]["Code"] in _TRANSIENT or body["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                raise Unavailable from error
            raise
        return answer

    return call


def connect_when_called(service: str, **settings: Any) -> Call:
    """Make a connection that is made with the first call."""
    made: list[Call] = []

    def call(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        if not made:
            made.append(connect(service, **settings))
        return made[0](operation, request)

    return call
