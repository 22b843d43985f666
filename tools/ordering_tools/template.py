"""Reads `template.yaml`, for the tools and for tests that compare it with the code.

Short tags are read as CloudFormation reads them (`!Ref X` is `{"Ref": "X"}`). A reference to a parameter becomes its
default, and a reference to a resource its logical id, which is the name of a table in the local run and in tests.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as SafeLoader
except ImportError:
    # The same in Python, eight times slower: where PyYAML was compiled without libyaml.
    from yaml import SafeLoader  # type: ignore[assignment] # it has the same interface

_TABLE_PROPERTIES = (
    "AttributeDefinitions",
    "KeySchema",
    "BillingMode",
    "ProvisionedThroughput",
    "GlobalSecondaryIndexes",
    "LocalSecondaryIndexes",
)


class TemplateError(Exception):
    """The template cannot be read; the message gives the path and the reason."""


@dataclass(frozen=True)
class TableDefinition:
    """A table of the template."""

    create: dict[str, Any]
    """The arguments of DynamoDB's CreateTable; the table's name is its logical id."""
    ttl_attribute: str | None

    @property
    def name(self) -> str:
        """The name in `create`."""
        name: str = self.create["TableName"]
        return name


@dataclass(frozen=True)
class LayerDefinition:
    """A layer of the template."""

    name: str
    content: Path
    """Its folder, relative to the template."""
    built: bool
    """Whether a build command creates the layer, so that its folder is not the layer itself."""


_NO_VALUE = "AWS::NoValue"
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_OWN = "HasOwn"
"""How the names of conditions begin that choose between a table of the stack and an existing one."""


class _Loader(SafeLoader):
    """Loads YAML with CloudFormation's short tags."""


def _short_tag(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_scalar(node)  # type: ignore[arg-type] # the only other kind of node
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_tag)


class Template:
    """A SAM template as plain data."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    @classmethod
    def load(cls, path: Path) -> Template:
        """Read a template.

        Raises:
            TemplateError: The file cannot be read, or is not YAML with resources.
        """
        try:
            document = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
        except (OSError, yaml.YAMLError) as error:
            raise TemplateError(f"{path} cannot be read: {error}") from error
        if not isinstance(document, dict) or not isinstance(document.get("Resources"), dict):
            raise TemplateError(f"{path} has no Resources")
        return cls(document)

    def with_own_tables(self) -> Template:
        """The template of a stack that uses its own tables, as by default: without the choice of other tables."""
        return Template(_own(self.document))

    def with_parameters(self, **values: str) -> Template:
        """The template with other defaults for those of these parameters that it has."""
        declared: dict[str, dict[str, Any]] = self.document.get("Parameters", {})
        others = {name: {**declared[name], "Default": value} for name, value in values.items() if name in declared}
        return Template({**self.document, "Parameters": {**declared, **others}})

    @property
    def parameters(self) -> dict[str, Any]:
        """The defaults of the parameters that have one; those of lists as lists."""
        declared: dict[str, dict[str, Any]] = self.document.get("Parameters", {})
        return {name: _default(parameter) for name, parameter in declared.items() if "Default" in parameter}

    @property
    def tables(self) -> list[TableDefinition]:
        """The DynamoDB tables."""
        return [_table(name, properties) for name, properties in self.resources("AWS::DynamoDB::Table")]

    @property
    def functions(self) -> dict[str, Path]:
        """The folder of each function, relative to the template."""
        shared = self.document.get("Globals", {}).get("Function", {})
        return {
            name: Path({**shared, **properties}["CodeUri"])
            for name, properties in self.resources("AWS::Serverless::Function")
        }

    @property
    def layers(self) -> list[LayerDefinition]:
        """The layers."""
        declared = self.document["Resources"]
        return [
            LayerDefinition(name, Path(properties["ContentUri"]), "BuildMethod" in declared[name].get("Metadata", {}))
            for name, properties in self.resources("AWS::Serverless::LayerVersion")
        ]

    def resolve(self, value: Any) -> Any:
        """A value whose `If`s are decided, and each `Ref` replaced by the parameter's default or by the name itself.

        Raises:
            TemplateError: The condition of an `If` cannot be evaluated.
        """
        if isinstance(value, list):
            return [part for part in map(self.resolve, value) if part != _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if value.keys() == {"Ref"}:
            return self.parameters.get(value["Ref"], value["Ref"])
        if (text := self._text(value)) is not None:
            return text
        if value.keys() == {"Fn::If"}:
            name, yes, no = value["Fn::If"]
            return self.resolve(yes if self._holds({"Condition": name}) else no)
        return {key: found for key, part in value.items() if (found := self.resolve(part)) != _NO_VALUE}

    def _text(self, value: dict[str, Any]) -> str | None:
        """The text that a `Join`, or a `Sub` with variables that are known, makes; None if it is neither."""
        match value:
            case {"Fn::Join": [separator, parts]}:
                return str(separator).join(self.resolve(parts))
            case {"Fn::Sub": [str(text), dict(variables)]}:
                named = {name: self.resolve(part) for name, part in variables.items()}
                if all(isinstance(part, str) for part in named.values()):
                    return _VARIABLE.sub(lambda found: named.get(found[1], found[0]), text)
        return None

    def _holds(self, condition: dict[str, Any]) -> bool:
        match condition:
            case {"Condition": str(name)} if name in (declared := self.document.get("Conditions", {})):
                return self._holds(declared[name])
            case {"Fn::Equals": [one, other]}:
                return bool(self.resolve(one) == self.resolve(other))
            case {"Fn::Not": [negated]}:
                return not self._holds(negated)
            case _:
                raise TemplateError(f"the condition {condition} cannot be evaluated")

    def resources(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """The resources of a type: the logical id and the resolved properties of each."""
        return [
            (name, self.resolve(resource.get("Properties", {})))
            for name, resource in self.document["Resources"].items()
            if resource["Type"] == kind
        ]


def _own(value: Any) -> Any:
    match value:
        case {"Fn::If": [str(condition), own, _]} if condition.startswith(_OWN):
            return own
        case {"Fn::Sub": [str(text), dict(variables)]}:
            left = {name: part for name, part in variables.items() if _own(part) == part}
            for name in variables.keys() - left.keys():
                text = text.replace(f"${{{name}}}", _in_text(_own(variables[name])))
            return {"Fn::Sub": [text, left] if left else text}
        case dict():
            return {key: _own(part) for key, part in value.items()}
        case list():
            return [_own(part) for part in value]
    return value


def _in_text(reference: dict[str, Any]) -> str:
    """A reference to a resource as it is written within a `Sub`."""
    match reference:
        case {"Fn::GetAtt": [resource, attribute]}:
            return f"${{{resource}.{attribute}}}"
        case _:
            return f"${{{reference['Ref']}}}"


def _default(parameter: dict[str, Any]) -> Any:
    default = parameter["Default"]
    return [one.strip() for one in default.split(",")] if parameter["Type"] == "CommaDelimitedList" else default


def _table(name: str, properties: dict[str, Any]) -> TableDefinition:
    create = {key: properties[key] for key in _TABLE_PROPERTIES if key in properties}
    if "StreamSpecification" in properties:
        # CloudFormation leaves out what CreateTable requires.
        create["StreamSpecification"] = {"StreamEnabled": True, **properties["StreamSpecification"]}
    ttl = properties.get("TimeToLiveSpecification", {})
    return TableDefinition(
        create={"TableName": name, **create},
        ttl_attribute=ttl.get("AttributeName") if ttl.get("Enabled") else None,
    )
