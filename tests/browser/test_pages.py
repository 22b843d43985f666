"""The reference and the guides in a browser: wide and narrow, light and dark, and for assistive tools."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ordering_tools.documents.chromium import PYTHON, chromium
from ordering_tools.installation import ROOT, NotDone
from support.real_stack import RealStack

pytestmark = pytest.mark.gateway

PICTURES = ROOT / ".build" / "pictures"
OF_THE_RENDERER = {"landmark-unique": 'aria-label="Example Responses"'}
"""What axe finds in the reference and no setting of the renderer changes: the rule, and the elements that break it.

Each call has a region of this name.
"""


def browser() -> str:
    """The browser of this machine; without one, or without what drives it, the tests are skipped and say so."""
    try:
        return chromium()
    except NotDone as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def visits(real: RealStack) -> dict[str, dict[str, Any]]:
    """What the browser saw on each page, by the visit's name; pictures are in .build/pictures."""
    command: list[str | Path] = [PYTHON, ROOT / "tools" / "visit.py", real.stack.base_url, browser(), PICTURES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    return {one["name"]: one for one in json.loads(done.stdout)}


def test_pages_load_without_complaints(visits: dict[str, dict[str, Any]]) -> None:
    """No page has an error or a warning in the console, and none asks another host for anything."""
    assert {name: one["messages"] for name, one in visits.items() if one["messages"]} == {}
    assert {name: one["elsewhere"] for name, one in visits.items() if one["elsewhere"]} == {}
    assert len([name for name in visits if name.startswith("reference-")]) == 3


def test_pages_fit_narrow_screens(visits: dict[str, dict[str, Any]]) -> None:
    """At 320 pixels nothing sticks out: a reader scrolls down only."""
    narrow = {name: one["width"] for name, one in visits.items() if "-320-" in name}

    assert len(narrow) > 10
    assert {name: width for name, width in narrow.items() if width > 320} == {}


def test_pages_are_accessible(visits: dict[str, dict[str, Any]]) -> None:
    """axe finds nothing in the guides, and in the reference only what each rule of `OF_THE_RENDERER` names."""
    found = {
        (name, rule, element)
        for name, one in visits.items()
        for rule, elements in one["violations"].items()
        for element in elements
        if not (name.startswith("reference-") and OF_THE_RENDERER.get(rule, "\0") in element)
    }

    assert found == set()


def test_a_call_is_tried(visits: dict[str, dict[str, Any]], real: RealStack) -> None:
    """A call that is sent from the reference is answered: the demo's token is filled in, and another can be chosen."""
    assert visits["tried"]["result"].startswith("200 ")
    assert visits["switched"]["result"] == real.demo_file["tokens"]["deals"]


def test_a_client_gets_a_token(visits: dict[str, dict[str, Any]]) -> None:
    """The reference gets a token by a client's id and secret, and a call with it is answered."""
    assert visits["authorized"]["result"] == "200 200"


def test_pages_take_the_keyboard(visits: dict[str, dict[str, Any]]) -> None:
    """The first stop of the tabulator key skips the menus."""
    assert visits["keyboard"]["result"] == "Skip to the content -> content"
