"""The function that CodeDeploy calls before a new version of another function gets calls (docs/releases.md).

It sends the version a harmless request: for the API one about an order or product that does not exist, for a consumer a
batch without messages, for the authorizer a token that does not exist. So the version has started, has its settings,
and may read its tables. Unless the response is as expected, the version gets no calls.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol

from ordering.aws.calls import ServiceCall, connect
from ordering.entry import wiring
from ordering.principal import GRANTS, DealTerms, OrderSource, Principal, User
from ordering.values import Value

ANSWERED_WITHIN = 30.0
"""Seconds that a new version may take for its first request, its start included."""

_log = logging.getLogger("ordering")

_REQUEST = "release-smoke"
_UNKNOWN = "00000000-0000-4000-8000-000000000000"
_CALLER = Principal(
    partner=_REQUEST,
    user=User(_UNKNOWN, "Release", "Smoke", "release@ordering.example.com"),
    business_units=(_UNKNOWN,),
    order_source=OrderSource(_UNKNOWN, "Release", invoiceable=False),
    payment_terms="invoice",
    grants=tuple(GRANTS),
    deals=DealTerms("enterprise"),
    company="Release",
)
"""A partner that does not exist: no request of its can find or change anything."""

_LOGICAL_ID = "aws:cloudformation:logical-id"
"""The tag with which CloudFormation marks a function."""


class SmokeFailed(Exception):
    """A version did not respond as it must; the message says which, and what it did."""


class SmokeContext(Protocol):
    """The part of Lambda's context that is used here."""

    @property
    def invoked_function_arn(self) -> str:
        """The ARN of this function."""


class Probe(Value):
    """A harmless request."""

    event: Mapping[str, Any]
    passed: Callable[[Any], bool]
    """Whether the version's response is as expected."""


def _request(path: str, expected: Callable[[], int] = lambda: 404) -> Probe:
    """Return a GET of the API, and expect a status."""
    event = {
        "httpMethod": "GET",
        "path": path,
        "resource": path,
        "headers": None,
        "multiValueHeaders": None,
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "body": None,
        "isBase64Encoded": False,
        "requestContext": {
            "requestId": _REQUEST,
            "path": path,
            "stage": "",
            "identity": {"sourceIp": "127.0.0.1"},
            "authorizer": {"principalId": _CALLER.partner, "principal": _CALLER.to_text()},
        },
    }
    return Probe(event, lambda answer: answer["statusCode"] == expected())


def _found() -> int:
    return 200


def _of_pages() -> int:
    """Return the status of pages: those that the stack does not serve do not exist."""
    return 200 if wiring.serves_reference() else 404


_AUTHORIZATION = Probe(
    {
        "type": "REQUEST",
        "methodArn": f"arn:aws:execute-api:::{_REQUEST}/live/GET/v2/orders",
        "httpMethod": "GET",
        "path": "/v2/orders",
        "resource": "/v2/orders",
        "multiValueHeaders": {"Authorization": [f"Bearer {64 * '0'}"]},
        "requestContext": {"requestId": _REQUEST, "identity": {"sourceIp": "127.0.0.1"}},
    },
    lambda answer: answer["context"] == {"refusal": "unauthorized"},
)
_BATCH = Probe({"Records": []}, lambda answer: answer == {"batchItemFailures": []})

PROBES: Mapping[str, Probe] = MappingProxyType(
    {
        "AuthorizerFunction": _AUTHORIZATION,
        "TokenFunction": _request("/.well-known/jwks.json", _found),
        "ReferenceFunction": _request("/docs", _of_pages),
        "TrainingProductsFunction": _request(f"/api/v2/products/{_UNKNOWN}"),
        "TrainingFeatureSetsFunction": _request(f"/api/v2/products/{_UNKNOWN}/feature_sets"),
        "TrainingOrdersFunction": _request("/api/v2/orders/1"),
        "TrainingOrderItemsFunction": _request("/api/v2/orders/1/items"),
        "TrainingOrderKeysFunction": _request("/api/v2/orders/1/keys"),
        "DealOrdersFunction": _request("/v2/orders/1"),
        "DealLineItemsFunction": _request("/v2/orders/1/line_items"),
        "DealProductsFunction": _request("/v2/products/1"),
        "EcardOrdersFunction": _request(f"/v1/orders/{_UNKNOWN}"),
        "EcardCertificatesFunction": _request(f"/v1/orders/{_UNKNOWN}/certificates"),
        "EcardCatalogueFunction": _request("/v1/ecards", _found),
        "EcardBalanceFunction": _request("/v1/balance", _found),
        "WebhooksFunction": _request(f"/webhooks/{16 * '0'}"),
        "StreamFunction": _BATCH,
        "MailsFunction": _BATCH,
        "WebhookDeliveryFunction": _BATCH,
        "IncomingFunction": _BATCH,
    }
)
"""The request for each function, by its logical id in the template."""


class Smoke:
    """Tries new versions.

    Args:
        deploy: CodeDeploy.
        functions: Lambda.
    """

    def __init__(self, deploy: ServiceCall, functions: ServiceCall) -> None:
        self._deploy = deploy
        self._functions = functions

    def handle(self, event: Mapping[str, str], context: SmokeContext) -> None:
        """Try the versions of a deployment, and report to CodeDeploy whether they may get calls."""
        deployment, status = event["DeploymentId"], "Failed"
        try:
            for version in self._versions(deployment):
                self._try(version, context.invoked_function_arn)
            status = "Succeeded"
        except Exception:  # noqa: BLE001 - whatever it was, CodeDeploy would wait an hour for a report
            _log.exception("smoke failed", extra={"deployment": deployment})
        self._deploy(
            "PutLifecycleEventHookExecutionStatus",
            {
                "deploymentId": deployment,
                "lifecycleEventHookExecutionId": event["LifecycleEventHookExecutionId"],
                "status": status,
            },
        )

    def _versions(self, deployment: str) -> list[Mapping[str, str]]:
        named = {"deploymentId": deployment}
        ids = self._deploy("ListDeploymentTargets", named)["targetIds"]
        found = self._deploy("BatchGetDeploymentTargets", {**named, "targetIds": ids})["deploymentTargets"]
        if not found:
            raise SmokeFailed(f"{deployment} has no versions")
        return [target["lambdaTarget"]["lambdaFunctionInfo"] for target in found]

    def _try(self, version: Mapping[str, str], this: str) -> None:
        """Send a version its request.

        Raises:
            SmokeFailed: It failed, or its response is not as expected.
        """
        name, number = version["functionName"], version["targetVersion"]
        arn = f"{this.partition(':function:')[0]}:function:{name}"
        logical = self._functions("ListTags", {"Resource": arn})["Tags"].get(_LOGICAL_ID, "")
        if logical not in PROBES:
            raise SmokeFailed(f"{name} has no request to try it with; add one to ordering.entry.smoke")
        probe = PROBES[logical]
        sent = {"FunctionName": arn, "Qualifier": number, "Payload": json.dumps(probe.event)}
        answer = self._functions("Invoke", sent)
        text = answer["Payload"].read()
        if "FunctionError" in answer or not probe.passed(json.loads(text)):
            # Responses to these requests have no data of partners.
            raise SmokeFailed(f"{name} version {number} responded {text[:500]!r}")
        _log.info("smoke passed", extra={"function": logical, "version": number})


def smoke_from_environment() -> Callable[[Mapping[str, str], SmokeContext], None]:
    """Return the hook's handler."""
    smoke = Smoke(connect("codedeploy"), connect("lambda", answered_within=ANSWERED_WITHIN))
    return wiring.initialised(smoke.handle)
