"""The judges of the template: which findings stay, with which reasons."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from support.gateway import ROOT


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


judges: Any = load(ROOT / "tools" / "judges.py")
TABLE = judges.Finding("R1", "OrdersTable", "no key")
QUEUE = judges.Finding("R1", "MailQueue", "no key")


def lines(*entries: tuple[str, dict[str, Any]]) -> list[str]:
    return [*judges.judged([TABLE, QUEUE], [*judges.acceptances({"judge": dict(entries)}, "judge")])]


def test_findings_fail_unless_accepted() -> None:
    """A finding is a line unless its rule is accepted where it was found."""
    assert lines() == ["R1 MailQueue: no key", "R1 OrdersTable: no key"]
    assert lines(("R1", {"why": "a reason", "places": ["*Table"]})) == ["R1 MailQueue: no key"]
    assert lines(("R1", {"why": "a reason"})) == []


@pytest.mark.parametrize("entry", [("R2", {"why": "a reason"}), ("R1", {"why": "a reason", "places": ["*", "*Topic"]})])
def test_acceptances_end_with_their_findings(entry: tuple[str, dict[str, Any]]) -> None:
    """An acceptance whose rule or place finds nothing any more is a line."""
    assert [line for line in lines(entry) if "nothing is found any more" in line]


@pytest.mark.parametrize("entry", [{}, {"why": ""}, {"places": ["*"]}, {"why": "a reason", "on": ["*"]}, "a reason"])
def test_acceptances_have_reasons(entry: Any) -> None:
    """An acceptance without a reason, or with an unknown key, is refused."""
    with pytest.raises(judges.JudgeError, match=r"judge\.R1 needs `why`"):
        [*judges.acceptances({"judge": {"R1": entry}}, "judge")]


def test_accepted_findings_of_the_template() -> None:
    """The file beside the template has reasons for known judges only, each reason a sentence."""
    document = yaml.safe_load((ROOT / "tools" / "accepted_findings.yaml").read_text(encoding="utf-8"))

    assert document.keys() - {"specshift"} == judges.JUDGES.keys()
    for judge in document:
        for acceptance in judges.acceptances(document, judge):
            assert acceptance.why[0].isupper()
            assert acceptance.why.endswith(".")
