"""Finds mistakes of a SAM template that AWS refuses or that fail at the first use, and that no linter finds.

Each checker yields a sentence for each mistake: the logical id first. They read the template before its translation.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ordering_tools.template import Template
from support.patterns import COMPARISONS, OF_FILTERS, faults

OF_STREAMS = {
    *("BisectBatchOnFunctionError", "DestinationConfig", "MaximumRecordAgeInSeconds", "MaximumRetryAttempts"),
    *("ParallelizationFactor", "StartingPosition", "StartingPositionTimestamp", "TumblingWindowInSeconds"),
}
"""The properties of an event source mapping that Lambda accepts for a stream only."""

OF_QUEUES = {"ScalingConfig"}
"""Those that it accepts for a queue only."""

WITHOUT_WINDOW = 10
"""Most messages of a queue in a batch without a batching window."""

MOST_FILTERS, LONGEST_FILTER, LONGEST_PATTERN = 5, 4096, 2048
"""Filters of a mapping; characters of a filter and of a rule's pattern."""

OF_RECORDS = {"awsRegion", "dynamodb", "eventID", "eventName", "eventSource", "eventVersion", "userIdentity"}
OF_EVENTS = {
    *("account", "detail", "detail-type", "id", "region", "replay-name", "resources", "source", "time", "version"),
}
"""The fields of a stream's records, and of an event."""

RESPONSE_TYPES = {
    *("ACCESS_DENIED", "API_CONFIGURATION_ERROR", "AUTHORIZER_CONFIGURATION_ERROR", "AUTHORIZER_FAILURE"),
    *("BAD_REQUEST_BODY", "BAD_REQUEST_PARAMETERS", "DEFAULT_4XX", "DEFAULT_5XX", "EXPIRED_TOKEN"),
    *("INTEGRATION_FAILURE", "INTEGRATION_TIMEOUT", "INVALID_API_KEY", "INVALID_SIGNATURE"),
    *("MISSING_AUTHENTICATION_TOKEN", "QUOTA_EXCEEDED", "REQUEST_TOO_LARGE", "RESOURCE_NOT_FOUND", "THROTTLED"),
    *("UNAUTHORIZED", "UNSUPPORTED_MEDIA_TYPE", "WAF_FILTERED"),
}
"""The types of gateway responses."""

CONTEXT = {
    *("accountId", "apiId", "awsEndpointRequestId", "customDomain.basePathMatched", "deploymentId", "domainName"),
    *("domainPrefix", "endpointType", "error.message", "error.messageString", "error.responseType"),
    *("error.validationErrorString", "extendedRequestId", "httpMethod", "isCanaryRequest", "path", "protocol"),
    *("requestId", "requestTime", "requestTimeEpoch", "resourceId", "resourcePath", "stage", "status"),
    *("wafResponseCode", "webaclArn", "authorizer.principalId", "identity.apiKey", "identity.apiKeyId"),
    *("identity.sourceIp", "identity.userAgent", "identity.accountId", "identity.caller", "identity.user"),
}
"""The variables of `$context` in a gateway response, besides an authorizer's own."""

QUOTED = {"error.messageString"}
"""Variables whose value has its quotation marks."""

HEADER_SOURCE = re.compile(
    r"'[^']*'|context\.(?P<context>[A-Za-z.]+)|stageVariables\.\w+"
    r"|method\.request\.(?:(?:multivalue)?(?:header|querystring)|path)\.[\w-]+"
)
"""Where the value of a gateway response's header field comes from."""

RIGHTS = {
    "AWS::DynamoDB::Table": "dynamodb:",
    "AWS::Events::EventBus": "events:PutEvents",
    "AWS::KMS::Key": "kms:",
    "AWS::SES::ConfigurationSet": "ses:SendEmail",
    "AWS::SQS::Queue": "sqs:SendMessage",
}
"""How an action begins that a function needs if its environment names a resource of a type."""


def _functions(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    shared = template.document.get("Globals", {}).get("Function", {})
    for name, resource in template.document["Resources"].items():
        if resource["Type"] == "AWS::Serverless::Function":
            yield name, {**shared, **resource["Properties"]}


def _mappings(template: Template) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The name, kind and properties of each event source mapping that SAM creates."""
    for function, properties in _functions(template):
        for event, source in properties.get("Events", {}).items():
            if source["Type"] in ("DynamoDB", "Kinesis", "SQS"):
                yield f"{function}.{event}", source["Type"], source["Properties"]


def of_mappings(template: Template) -> Iterator[str]:
    """Properties of an event source mapping that Lambda refuses for its kind of source."""
    for name, kind, properties in _mappings(template):
        for wrong in sorted(properties.keys() & (OF_STREAMS if kind == "SQS" else OF_QUEUES)):
            yield f"{name}: {wrong} is not for {kind}"
        if kind != "SQS" and "StartingPosition" not in properties:
            yield f"{name}: StartingPosition is required"
        window = properties.get("MaximumBatchingWindowInSeconds", 0)
        if kind == "SQS" and properties.get("BatchSize", WITHOUT_WINDOW) > WITHOUT_WINDOW and not window:
            yield f"{name}: a batch of more than {WITHOUT_WINDOW} messages needs a batching window"


def of_filters(template: Template) -> Iterator[str]:
    """Filters of event source mappings that Lambda refuses, or that match no record."""
    for name, kind, properties in _mappings(template):
        filters = properties.get("FilterCriteria", {}).get("Filters", [])
        if len(filters) > MOST_FILTERS:
            yield f"{name}: more than {MOST_FILTERS} filters"
        for number, one in enumerate(filters):
            here, text = f"{name}, filter {number}", one.get("Pattern", "")
            if len(text) > LONGEST_FILTER:
                yield f"{here}: longer than {LONGEST_FILTER} characters"
            try:
                pattern = json.loads(text)
            except ValueError:
                yield f"{here}: no JSON"
                continue
            yield from (f"{here}: {fault}" for fault in faults(pattern, OF_FILTERS))
            if kind == "DynamoDB" and isinstance(pattern, dict):
                yield from (f"{here}: {fault}" for fault in _record_faults(pattern, text))


def _record_faults(pattern: dict[str, Any], text: str) -> Iterator[str]:
    if unknown := pattern.keys() - OF_RECORDS - {"$or"}:
        yield f"records have no {', '.join(sorted(unknown))}"
    names = pattern.get("eventName", [])
    if isinstance(names, list) and not {one for one in names if isinstance(one, str)} <= {"INSERT", "MODIFY", "REMOVE"}:
        yield f"no change is called {names}"
    if '"numeric"' in text:
        yield "a stream's numbers are texts, which numeric never matches"


def of_rules(template: Template) -> Iterator[str]:
    """Event patterns of rules that EventBridge refuses, or that match no event."""
    for name, resource in template.document["Resources"].items():
        if resource["Type"] != "AWS::Events::Rule" or "EventPattern" not in resource["Properties"]:
            continue
        pattern = template.resolve(resource["Properties"]["EventPattern"])
        yield from (f"{name}: {fault}" for fault in faults(pattern, COMPARISONS))
        if not isinstance(pattern, dict):
            continue
        if unknown := pattern.keys() - OF_EVENTS - {"$or"}:
            yield f"{name}: events have no {', '.join(sorted(unknown))}"
        if len(json.dumps(pattern)) > LONGEST_PATTERN:
            yield f"{name}: longer than {LONGEST_PATTERN} characters"


def of_code(template: Template, root: Path) -> Iterator[str]:
    """Folders of code that are absent below `root`, and handlers that their module does not define."""
    for name, properties in _functions(template):
        module, _, handler = properties["Handler"].rpartition(".")
        path = root / properties["CodeUri"] / f"{module.replace('.', '/')}.py"
        if not path.is_file():
            yield f"{name}: there is no {path.relative_to(root)}"
        elif handler not in _names(path):
            yield f"{name}: {path.relative_to(root)} defines no {handler}"
    for layer in template.layers:
        if not (root / layer.content).is_dir():
            yield f"{layer.name}: there is no {layer.content}"


def _names(path: Path) -> set[str]:
    """The names that a module defines, imports or assigns at its top level."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def of_gateway_responses(template: Template) -> Iterator[str]:
    """Gateway responses that API Gateway refuses, or whose body would be no JSON."""
    for name, resource in template.document["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Api":
            continue
        for kind, response in resource["Properties"].get("GatewayResponses", {}).items():
            here = f"{name}.{kind}"
            if kind not in RESPONSE_TYPES:
                yield f"{here}: there is no such type"
            if not 400 <= int(response.get("StatusCode", 400)) < 600:
                yield f"{here}: {response['StatusCode']} is no status of an error"
            for media_type, body in template.resolve(response.get("ResponseTemplates", {})).items():
                yield from (f"{here}, {media_type}: {fault}" for fault in _body_faults(body))
            headers = template.resolve(response.get("ResponseParameters", {}).get("Headers", {}))
            for header, source in headers.items():
                found = HEADER_SOURCE.fullmatch(source)
                if not found or not _is_known(found["context"] or "requestId"):
                    yield f"{here}: the header field {header} cannot come from {source}"


def _is_known(variable: str) -> bool:
    return variable in CONTEXT or variable.startswith("authorizer.")


def _body_faults(body: str) -> Iterator[str]:
    variables = re.findall(r"\$context\.([A-Za-z]+(?:\.[A-Za-z]+)*)", body)
    yield from (f"there is no $context.{one}" for one in variables if not _is_known(one))
    filled = re.sub(r"\$context\.([A-Za-z]+(?:\.[A-Za-z]+)*)", lambda found: '"x"' if found[1] in QUOTED else "x", body)
    filled = re.sub(r"\$stageVariables\.\w+", "x", filled)
    if unknown := re.search(r"\$[\w.]*", filled):
        yield f"gateway responses know no {unknown[0]}"
    try:
        json.loads(filled)
    except ValueError as error:
        yield f"the body is no JSON ({error})"


def of_roles(template: Template) -> Iterator[str]:
    """Resources that a function's environment names but its role may not use, or that only its role names."""
    template = template.with_own_tables()
    resources = template.document["Resources"]
    for name, properties in _functions(template):
        statements = [one for policy in properties.get("Policies", []) for one in policy["Statement"]]
        for variable, value in properties.get("Environment", {}).get("Variables", {}).items():
            named = value.get("Ref", "") if isinstance(value, dict) else ""
            needed = RIGHTS.get(resources[named]["Type"]) if named in resources else None
            if needed and not any(_grants(statement, needed, named) for statement in statements):
                yield f"{name}: {variable} names {named}, which its role may not use ({needed})"
        declared = {*_references(properties.get("Environment", {}))}
        for statement in statements:
            # A request to decrypt names no key, and the token endpoint reads the names of its keys in a table.
            if statement["Action"] not in ("kms:Decrypt", "kms:Sign"):
                for unnamed in sorted({*_references(statement["Resource"])} - declared):
                    if resources.get(unnamed, {}).get("Type") in RIGHTS:
                        yield f"{name}: its role may use {unnamed}, which no variable names"


def _grants(statement: dict[str, Any], action: str, resource: str) -> bool:
    actions, targets = statement["Action"], statement["Resource"]
    return (
        statement["Effect"] == "Allow"
        and any(one.startswith(action) for one in (actions if isinstance(actions, list) else [actions]))
        and any(
            target == {"Fn::GetAtt": [resource, "Arn"]} or f"${{{resource}}}" in str(target)
            for target in (targets if isinstance(targets, list) else [targets])
        )
    )


def of_parameters(template: Template) -> Iterator[str]:
    """Parameters that are not used or not described, and references to names that the template does not declare."""
    document = template.document
    used = {*_references({key: part for key, part in document.items() if key != "Parameters"})}
    declared = {
        *document.get("Parameters", {}),
        *document["Resources"],
        *(f"{name}Role" for name, _ in _functions(template)),
    }
    for name, parameter in document.get("Parameters", {}).items():
        if name not in used:
            yield f"{name}: no resource, condition or output uses it"
        if not parameter.get("Description"):
            yield f"{name}: it has no description"
    for name in sorted(used - declared):
        if not name.startswith("AWS::"):
            yield f"{name}: it is used but not declared"


def of_outputs(template: Template) -> Iterator[str]:
    """Outputs without a description."""
    for name, output in template.document.get("Outputs", {}).items():
        if not output.get("Description"):
            yield f"{name}: the output has no description"


def _references(part: Any) -> Iterator[str]:
    """The names that a part of a template refers to."""
    if isinstance(part, list):
        for one in part:
            yield from _references(one)
    if not isinstance(part, dict):
        return
    for key, value in part.items():
        local: dict[str, Any] = {}
        if key == "Ref":
            # A resource that SAM creates is named as a part of the one that it belongs to.
            yield value.partition(".")[0]
        elif key == "Fn::GetAtt":
            yield value[0]
        elif key == "Fn::Sub":
            text, local = value if isinstance(value, list) else (value, {})
            names = {found.partition(".")[0] for found in re.findall(r"\$\{([\w:.]+)\}", text)}
            yield from names - local.keys()
            yield from _references(local)
        else:
            yield from _references(value)


KINDS: dict[str, Callable[[Template, Path], Iterator[str]]] = {
    "mappings": lambda template, _: of_mappings(template),
    "filters": lambda template, _: of_filters(template),
    "rules": lambda template, _: of_rules(template),
    "code": of_code,
    "gateway responses": lambda template, _: of_gateway_responses(template),
    "roles": lambda template, _: of_roles(template),
    "parameters": lambda template, _: of_parameters(template),
    "outputs": lambda template, _: of_outputs(template),
}
"""The checkers, which take the template and the folder that its paths are relative to."""
