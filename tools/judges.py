"""Judges the translated template by cfn-lint, checkov or cdk-nag, with all of its rules.

A finding fails the check unless `tools/accepted_findings.yaml` accepts it, with the reason. An acceptance that no
finding needs fails the check too, so that none outlives its reason.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from ordering_tools.local.engine.deployment import translate
from ordering_tools.template import TemplateError

ROOT = Path(__file__).resolve().parent.parent
SAM = ROOT / ".venvs" / "sam" / "bin"
BIN = ROOT / ".venvs" / "judges" / "bin"
NODE = ROOT / ".venvs" / "node"
ACCEPTED = ROOT / "tools" / "accepted_findings.yaml"

# SAM needs a region although nothing here calls AWS. It and redocly send telemetry unless that is disabled.
ENVIRONMENT = {
    **os.environ,
    "AWS_DEFAULT_REGION": "eu-west-1",
    "SAM_CLI_TELEMETRY": "0",
    "REDOCLY_TELEMETRY": "off",
    "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
}


class JudgeError(Exception):
    """A judge could not do its work, or an acceptance is malformed; the message says why."""


@dataclass(frozen=True, order=True)
class Finding:
    """What a judge found."""

    rule: str
    place: str
    """The logical id; empty if it is about the template as a whole."""
    text: str


@dataclass(frozen=True)
class Acceptance:
    """A rule's findings that stay."""

    rule: str
    why: str
    place: str
    """A pattern of logical ids."""

    def covers(self, finding: Finding) -> bool:
        """Whether a finding stays."""
        return self.rule == finding.rule and fnmatchcase(finding.place, self.place)


def acceptances(document: Mapping[str, Any], judge: str) -> Iterator[Acceptance]:
    """The acceptances of a judge's findings, one for each place.

    Raises:
        JudgeError: One has no reason, or something else than a reason and places.
    """
    for rule, entry in (document.get(judge) or {}).items():
        if not isinstance(entry, dict) or not entry.get("why") or entry.keys() - {"why", "places"}:
            raise JudgeError(
                f"{ACCEPTED.name}: {judge}.{rule} needs `why`, a sentence, and may have `places`, logical ids"
            )
        yield from (Acceptance(rule, entry["why"], place) for place in entry.get("places", ["*"]))


def judged(findings: Sequence[Finding], accepted: Sequence[Acceptance]) -> Iterator[str]:
    """A line for each finding that is not accepted, and for each acceptance that no finding needs."""
    for finding in sorted(findings):
        if not any(one.covers(finding) for one in accepted):
            yield f"{finding.rule} {finding.place or 'template'}: {finding.text}"
    for one in accepted:
        if not any(map(one.covers, findings)):
            yield f"{ACCEPTED.name}: nothing is found any more by {one.rule} on {one.place}"


def cfn_lint(template: Path) -> list[Finding]:
    """What cfn-lint finds, its informational and experimental rules included."""
    arguments = ("--regions", "eu-west-1", "--include-checks", "I", "--include-experimental", "--format", "json")
    found = json.loads(output(SAM / "cfn-lint", *arguments, "--", template, codes=range(16)) or "[]")
    return [Finding(one["Rule"]["Id"], _logical_id(one["Location"]["Path"] or []), one["Message"]) for one in found]


def checkov(template: Path) -> list[Finding]:
    """What checkov finds; it looks nothing up online."""
    arguments = ("--framework", "cloudformation", "--compact", "--quiet", "--skip-download", "--output", "json")
    report = json.loads(output(BIN / "checkov", "--file", template, *arguments, codes=range(2)))
    if report["summary"]["parsing_errors"] or not report["summary"]["passed"]:
        raise JudgeError(f"checkov read nothing: {report['summary']}")
    return [
        Finding(one["check_id"], one["resource"].rpartition(".")[2], one["check_name"])
        for one in report["results"]["failed_checks"]
    ]


def cdk_nag(template: Path) -> list[Finding]:
    """What cdk-nag's packs AwsSolutions and Serverless find."""
    return [Finding(*one) for one in json.loads(output(BIN / "python", "tools/nag.py", template))]


JUDGES: dict[str, Callable[[Path], list[Finding]]] = {"cfn-lint": cfn_lint, "checkov": checkov, "cdk-nag": cdk_nag}


def _logical_id(path: Sequence[str | int]) -> str:
    return str(path[1]) if len(path) > 1 else ""


def output(*command: str | Path, codes: range = range(1)) -> str:
    """Run a command in the project's root; returns its output.

    Raises:
        JudgeError: Its exit code is none of `codes`.
    """
    done = subprocess.run(  # noqa: S603 - the commands of the checks
        [str(part) for part in command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode not in codes:
        raise JudgeError(f"{Path(command[0]).name} failed:\n{done.stdout}{done.stderr}".rstrip())
    return done.stdout


def node(program: str, *arguments: str | Path) -> tuple[str | Path, ...]:
    """Return the command of a program of a Node package, such as `@redocly/cli/bin/cli.js`."""
    return (NODE / "bin" / "node", NODE / "node_modules" / program, *arguments)


def run(*command: str | Path) -> str:
    """Run a command in the project's root; returns its output if it fails, and nothing if it succeeds."""
    try:
        output(*command)
    except JudgeError as error:
        return str(error)
    return ""


def judge(name: str) -> str:
    """Judge the template; returns a line for each finding that fails, and for each acceptance that nothing needs."""
    try:
        accepted = [*acceptances(yaml.safe_load(ACCEPTED.read_text(encoding="utf-8")), name)]
        template = translate(ROOT / "template.yaml", SAM / "python", ROOT / ".build" / "local" / "translated")
        return "\n".join(judged(JUDGES[name](template), accepted))
    except (JudgeError, TemplateError) as error:
        return str(error)
