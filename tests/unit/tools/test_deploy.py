"""What makes a deployment publish new versions: code, layers and template of a build, and parameters."""

from __future__ import annotations

import json
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from ordering_tools.local.engine.deployment import translate
from ordering_tools.template import Template

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

from deploy import overridden, parameters_of, with_parameters  # noqa: E402 - tools/ is not a package
from package import PackageError, for_release, release_of  # noqa: E402 - as above

SOURCE = (ROOT / "template.yaml").read_text(encoding="utf-8")
CONFIGURATION = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))
BUILT = for_release(SOURCE, "0123456789abcdef")


def release_in(template: str) -> str:
    (line,) = (line for line in template.splitlines() if "RELEASE: " in line)
    return line.split()[1]


def edit(path: str) -> Callable[[Path], object]:
    return lambda folder: (folder / path).write_text((folder / path).read_text() + "\n# changed\n")


@pytest.mark.parametrize(
    "change",
    [
        edit("functions/training/orders/app.py"),
        edit("layers/ordering/python/ordering/money.py"),
        edit("layers/dependencies/requirements.txt"),
        edit("template.yaml"),
        lambda folder: (folder / "functions/training/orders/app.py").rename(folder / "functions/training/orders/b.py"),
    ],
    ids=["function", "layer", "packages", "template", "name"],
)
def test_a_change_is_another_release(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """A changed function, layer, package or template has another release, and what is unchanged the same one."""
    for name in ("functions", "layers"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "template.yaml").write_text(SOURCE)
    before, again = release_of(tmp_path), release_of(tmp_path)
    change(tmp_path)

    assert before == again
    assert release_of(tmp_path) != before
    # YAML would read 12e4 or 1234 as a number.
    assert before.startswith("r")


def test_parameters_are_part_of_the_release() -> None:
    """A deployment's release names its build, and changes with its parameters only."""
    one = with_parameters(BUILT, ["GraceSeconds=2"])
    other = with_parameters(one, ["GraceSeconds=3"])
    releases = [release_in(template) for template in (one, other, with_parameters(other, ["GraceSeconds=2"]))]

    assert releases[0] == releases[2] != releases[1]
    assert {release.partition("-")[0] for release in releases} == {"0123456789abcdef"}


def test_what_is_not_built_is_not_deployed() -> None:
    """A template that `make build` has not written is refused, and so is a section that does not exist."""
    with pytest.raises(PackageError, match="make build"):
        with_parameters(SOURCE, [])
    with pytest.raises(PackageError, match=r"must be a section of samconfig\.toml: default, dev, prod"):
        parameters_of(CONFIGURATION, "test")
    with pytest.raises(PackageError, match="must have one variable RELEASE"):
        for_release("Resources: {}", "a")


@pytest.mark.parametrize("section", ["dev", "prod"])
def test_sections_set_parameters_of_the_template(section: str) -> None:
    """Each parameter of a section is one of the template's, with an allowed value."""
    declared = Template.load(ROOT / "template.yaml").document["Parameters"]
    parameters = dict(one.split("=", 1) for one in parameters_of(CONFIGURATION, section))

    assert parameters.keys() <= declared.keys()
    assert parameters["Rollout"] in declared["Rollout"]["AllowedValues"]


def versions(template: str, folder: Path) -> set[str]:
    """The logical ids of the versions of a template, as SAM translates it."""
    folder.mkdir()
    source = folder / "template.yaml"
    source.write_text(template, encoding="utf-8")
    translated = translate(source, ROOT / ".venvs" / "sam" / "bin" / "python", folder)
    resources = json.loads(translated.read_text())["Resources"]
    return {name for name, one in resources.items() if one["Type"] == "AWS::Lambda::Version"}


def test_another_release_publishes_every_function(tmp_path: Path) -> None:
    """Another release gives each function a new version, and the same release none."""
    functions = Template.load(ROOT / "template.yaml").functions
    one = versions(BUILT, tmp_path / "one")
    other = versions(for_release(SOURCE, "fedcba9876543210"), tmp_path / "other")

    assert len(one) == len(other) == len(functions)
    assert one & other == set()
    # Another parameter or layer alone gives none: that is why there is a release.
    changed = BUILT.replace("Description: The code that the functions share.", "Description: changed").replace(
        "  GraceSeconds:\n    Type: Number\n    Default: 2", "  GraceSeconds:\n    Type: Number\n    Default: 3"
    )
    assert changed != BUILT
    assert versions(changed, tmp_path / "changed") == one


def test_other_parameters() -> None:
    """A parameter of the command line stands beside those of the section, or replaces one of them."""
    section = ["DomainName=api.example.com", "Rollout=AllAtOnce"]

    assert overridden(section, []) == section
    assert overridden(section, ["Paused=true"]) == ["DomainName=api.example.com", "Paused=true", "Rollout=AllAtOnce"]
    assert overridden(section, ["Rollout=Linear10PercentEvery1Minute", "Rollout=X=1"]) == [section[0], "Rollout=X=1"]
