"""The workflows that check, deploy and release: what they call exists, and they may do no more than they need."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ordering_tools.template import Template
from support.policies import statements

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

import compatibility  # noqa: E402 - tools/ is not a package
from compatibility import Skipped, previous_document  # noqa: E402 - as above
from release_notes import CHANGELOG, NoNotesError, notes_of  # noqa: E402 - as above

WORKFLOWS = {path.stem: path for path in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}
SECTIONS = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
CALL = re.compile(r"\bmake ([a-z-]+)")


def jobs(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    found: dict[str, Any] = document["jobs"]
    return found


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in jobs(name).values() for step in job.get("steps", [])]


def test_every_workflow_is_here() -> None:
    """There is a workflow for checks, generated clients, deliveries, drift, random requests and releases."""
    assert [*WORKFLOWS] == ["check", "clients", "deliver", "drift", "fuzz", "release"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_workflows_call_exists(name: str) -> None:
    """Each target of make, section of samconfig.toml, script and workflow that a workflow names exists."""
    text = WORKFLOWS[name].read_text(encoding="utf-8")
    targets = set(re.findall(r"(?m)^([a-z-]+):", MAKEFILE))
    named = {
        "make": {call for step in steps(name) for call in CALL.findall(step.get("run", ""))} - targets,
        "section": set(re.findall(r"\bTO=(\S+)", text)) - SECTIONS.keys(),
        "script": {path for path in re.findall(r"\b(tools/\w+\.py|\.github/\S+)", text) if not (ROOT / path).exists()},
    }

    assert named == {"make": set(), "section": set(), "script": set()}
    assert any("run" in step for step in steps(name))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_are_pinned(name: str) -> None:
    """Each action is named by the hash of a commit, with its version beside it."""
    used = re.findall(r"uses: (\S+)(.*)", WORKFLOWS[name].read_text(encoding="utf-8"))

    assert [
        action
        for action, comment in used
        if not action.startswith("./")
        and not (re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) and re.fullmatch(r" # v\d+\.\d+\.\d+", comment))
    ] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_rights_are_given_to_jobs(name: str) -> None:
    """A workflow has no rights; each job names its own, and only one that assumes a role may ask for a token."""
    document = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))

    assert document["permissions"] == {}
    for job in jobs(name).values():
        assumes = any("configure-aws-credentials" in step.get("uses", "") for step in job.get("steps", []))
        assert ("id-token" in job["permissions"]) == (assumes or "uses" in job)
        assert not assumes or job["environment"]


def test_prod_is_last_and_shown_before() -> None:
    """A commit goes to prod after its checks, after dev, and after the change set of prod was shown."""
    deliver = jobs("deliver")
    order = {name: job.get("needs") for name, job in deliver.items()}
    commands = {name: deliver[name]["steps"][-1]["run"] for name in ("dev", "changes", "prod")}

    assert order == {"check": None, "dev": "check", "changes": "dev", "prod": "changes"}
    assert {name: "--no-execute-changeset" in command for name, command in commands.items()} == {
        "dev": False,
        "changes": True,
        "prod": False,
    }
    assert [deliver[name]["environment"] for name in ("dev", "changes", "prod")] == ["dev", "prod-plan", "prod"]


def test_stacks_differ() -> None:
    """The sections of dev and prod deploy different stacks, and drift is looked for in that of prod."""
    stacks = {name: SECTIONS[name]["global"]["parameters"]["stack_name"] for name in ("dev", "prod")}

    assert len({*stacks.values()}) == 2
    assert f".github/drift {stacks['prod']}\n" in WORKFLOWS["drift"].read_text(encoding="utf-8")


def test_the_script_of_drift_is_valid() -> None:
    """The script that looks for drift is one that the shell can read."""
    subprocess.run(["bash", "-n", ROOT / ".github" / "drift"], check=True)


SAMS = {"lambda", "apigateway", "codedeploy", "iam"}
"""The services of what SAM makes of its own types."""


def test_the_deploy_role_has_every_service_of_the_template() -> None:
    """CloudFormation's role may use the services of the template's resources, and no others."""
    role = Template.load(ROOT / ".github" / "deploy-role.yaml").document["Resources"]["ExecutionRole"]["Properties"]
    allowed = statements([one["PolicyDocument"] for one in role["Policies"]])
    actions = [action for statement in allowed for action in statement["Action"]]
    types = [one["Type"] for one in Template.load(ROOT / "template.yaml").document["Resources"].values()]
    needed = {name.split("::")[1].lower() for name in types} - {"serverless"} | SAMS

    # CloudFormation expands SAM's types. A vault of AWS Backup needs its storage.
    assert {action.partition(":")[0] for action in actions} - {"cloudformation", "backup-storage"} == needed


TEXT = "# Changelog\n\n## Unreleased\n\n- new\n\n## 1.2.0\n\n- **Added.** a\n\n### More\n\n- b\n\n## 1.1.0\n"


def test_notes_of_a_release() -> None:
    """The notes are all that is below the version's heading, up to the next version's."""
    assert notes_of(TEXT, "v1.2.0") == "- **Added.** a\n\n### More\n\n- b\n"


@pytest.mark.parametrize(
    ("tag", "words"),
    [("v1.1.0", "no notes below '## 1.1.0'"), ("v1.2", "no release"), ("v9.9.9", "no notes"), ("1.2.0", "no release")],
)
def test_a_release_without_notes_is_refused(tag: str, words: str) -> None:
    """A tag without a version, and a version without notes, are refused with what to do."""
    with pytest.raises(NoNotesError, match=re.escape(words)):
        notes_of(TEXT, tag)


def test_the_changelog_has_versions() -> None:
    """The changelog's sections of the second level are versions, or not released yet."""
    headings = re.findall(r"(?m)^## (.*)$", CHANGELOG.read_text(encoding="utf-8"))

    assert headings
    assert [one for one in headings if one != "Unreleased" and not re.match(r"\d+\.\d+\.\d+\b", one)] == []


def test_a_shallow_history_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that the history does not have skips the comparison by name."""
    missing = tmp_path / "previous"
    missing.write_text(f"{'0' * 40}\n")
    monkeypatch.setattr(compatibility, "PREVIOUS", missing)

    with pytest.raises(Skipped, match=f"does not have {'0' * 40}"):
        previous_document()
