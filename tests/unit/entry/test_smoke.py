"""The hook that tries a new version before it gets calls."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ordering.aws.calls import NotExecuted
from ordering.aws.connections import Connections
from ordering.aws.dynamodb import Send, ServiceFault
from ordering.aws.sqs import no_queue
from ordering.entry import authorization, inbound, mails, stream, webhook_delivery, wiring
from ordering.entry.smoke import PROBES, Smoke
from ordering_tools.template import Template
from support.aws.fake_connections import Recorder
from support.aws.memory import Memory
from support.gateway import ROOT, LambdaContext, load

TEMPLATE = Template.load(ROOT / "template.yaml")
FUNCTIONS = TEMPLATE.functions
ARN = "arn:aws:lambda:eu-west-1:1:function"
PREFIX = "ordering-"
OTHERS: Mapping[str, Callable[[], Callable[[Any, Any], Any]]] = {
    "AuthorizerFunction": authorization.authorizer_from_environment,
    "StreamFunction": stream.stream_from_environment,
    "MailsFunction": mails.mails_from_environment,
    "WebhookDeliveryFunction": webhook_delivery.webhook_delivery_from_environment,
    "IncomingFunction": inbound.incoming_from_environment,
}
"""The handlers of the functions that are not of the API."""


@dataclass
class Account:
    """CodeDeploy with one deployment, and Lambda with the version that it is about."""

    logical: str = "TrainingOrdersFunction"
    answer: Any = field(default_factory=lambda: {"statusCode": 404})
    error: str = ""
    targets: int = 1
    invoked: list[Mapping[str, Any]] = field(default_factory=list)
    reports: list[Mapping[str, Any]] = field(default_factory=list)

    def deploy(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        assert request["deploymentId"] == "d-1"
        if operation == "ListDeploymentTargets":
            return {"targetIds": [f"{PREFIX}F:live"] * self.targets}
        if operation == "BatchGetDeploymentTargets":
            info = {"functionName": f"{PREFIX}F", "functionAlias": "live", "currentVersion": "6", "targetVersion": "7"}
            return {"deploymentTargets": [{"lambdaTarget": {"lambdaFunctionInfo": info}} for _ in request["targetIds"]]}
        assert operation == "PutLifecycleEventHookExecutionStatus"
        self.reports.append(request)
        return {}

    def functions(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        if operation == "ListTags":
            assert request == {"Resource": f"{ARN}:{PREFIX}F"}
            return {"Tags": {"aws:cloudformation:logical-id": self.logical}}
        self.invoked.append(request)
        if self.error == "unreachable":
            raise NotExecuted
        answer = {"Payload": io.BytesIO(json.dumps(self.answer).encode())}
        return answer | ({"FunctionError": self.error} if self.error else {})

    def run(self) -> str:
        """Run the hook; returns what it reported."""
        event = {"DeploymentId": "d-1", "LifecycleEventHookExecutionId": "h-1"}
        context = SimpleNamespace(invoked_function_arn=f"{ARN}:{PREFIX}Smoke")
        Smoke(self.deploy, self.functions).handle(event, context)
        (report,) = self.reports
        assert (report["deploymentId"], report["lifecycleEventHookExecutionId"]) == ("d-1", "h-1")
        return str(report["status"])


def test_a_version_that_responds_passes() -> None:
    """The hook calls the numbered version once, with its function's request, and reports success."""
    account = Account()

    assert account.run() == "Succeeded"
    (call,) = account.invoked
    assert (call["FunctionName"], call["Qualifier"]) == (f"{ARN}:{PREFIX}F", "7")
    assert json.loads(call["Payload"]) == PROBES["TrainingOrdersFunction"].event


@pytest.mark.parametrize(
    "account",
    [
        Account(answer={"statusCode": 500}),
        Account(answer={"statusCode": 200}),
        Account(answer=None),
        Account(answer={"errorType": "Runtime.ImportModuleError"}, error="Unhandled"),
        Account(error="unreachable"),
        Account(logical="SmokeFunction"),
        Account(targets=0),
    ],
    ids=["500", "200", "nothing", "crash", "unreachable", "unknown", "no versions"],
)
def test_any_other_version_fails(account: Account) -> None:
    """Whatever goes wrong, the hook reports it, so that CodeDeploy does not wait for an hour."""
    assert account.run() == "Failed"


@pytest.mark.parametrize(("served", "status"), [("true", 200), ("false", 404)])
def test_pages_exist_if_the_stack_serves_them(monkeypatch: pytest.MonkeyPatch, served: str, status: int) -> None:
    """A version that does not serve the pages passes only if the stack does not want them, and the other way round."""
    monkeypatch.setenv("REFERENCE", served)

    for answered in (200, 404):
        account = Account(logical="ReferenceFunction", answer={"statusCode": answered})
        assert account.run() == ("Succeeded" if answered == status else "Failed")


def test_every_function_has_a_request() -> None:
    """The hook knows each function but itself."""
    assert PROBES.keys() == FUNCTIONS.keys() - {"SmokeFunction"}


def respond(function: str, send: Send, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the handler of a function respond to its request, with the settings that the template declares."""
    declared = TEMPLATE.document["Resources"][function]["Properties"]["Environment"]["Variables"]
    settings = {name: "2" if name == "GRACE_SECONDS" else name for name in declared}
    connections = Connections(settings, send, open_queue=lambda _: no_queue)
    monkeypatch.setattr(wiring, "open_connections", lambda: connections)
    handler: Callable[[Any, Any], Any]
    if function in OTHERS:
        handler = OTHERS[function]()
    else:
        app = load(str(FUNCTIONS[function].relative_to("functions")))
        monkeypatch.setitem(app.__dict__, "connections", connections)
        monkeypatch.setitem(app.__dict__, "services", app.build(connections))
        handler = cast("Callable[[Any, Any], Any]", app.handle)
    return handler(dict(PROBES[function].event), LambdaContext())


WITH_TABLES = [name for name, probe in PROBES.items() if probe.event != {"Records": []} and name != "ReferenceFunction"]
"""The functions that read a table for their request."""


@pytest.mark.parametrize("function", PROBES)
def test_requests_are_harmless(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each function's handler responds as the hook expects; it reads its tables and writes none."""
    recorder = Recorder(Memory())
    answer = respond(function, recorder, monkeypatch)
    operations = {operation for operation, _ in recorder.calls}

    assert PROBES[function].passed(answer)
    assert operations <= {"GetItem", "BatchGetItem", "Query"}
    assert bool(operations) == (function in WITH_TABLES)


@pytest.mark.parametrize("function", WITH_TABLES)
def test_a_function_without_its_tables_fails(function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function whose role may not read its tables does not pass."""

    def refuse(operation: str, request: dict[str, Any]) -> dict[str, Any]:
        raise ServiceFault("AccessDeniedException", f"{operation} of {request.keys()}")

    try:
        passed = PROBES[function].passed(respond(function, refuse, monkeypatch))
    except ServiceFault:
        passed = False

    assert not passed
