"""The architecture of a build, which one parameter chooses for functions and packages, and its bytecode."""

from __future__ import annotations

import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from ordering_tools.template import Template

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tools"))

from package import ARCHITECTURES, PackageError, compile_folder, find_runtime, for_architecture, machine_of, verify  # noqa: E402 - tools/ is not a package

SOURCE = (ROOT / "template.yaml").read_text(encoding="utf-8")
ARM64, X86_64 = b"\xb7\x00", b"\x3e\x00"


def elf(machine: bytes) -> bytes:
    """The first bytes of a shared object for a machine."""
    return b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00" + machine + b"\x01\x00\x00\x00"


def build(folder: Path, default: str, *machines: bytes) -> Path:
    """A built template with a default architecture, and extensions for machines."""
    text = f"Parameters:\n  Architecture:\n    Type: String\n    Default: {default}\n"
    (folder / "template.yaml").write_text(text)
    for number, machine in enumerate(machines):
        (folder / f"_{number}.so").write_bytes(elf(machine))
    return folder


@pytest.mark.parametrize(
    ("asked", "built"), [("arm64", "arm64"), ("x86_64", "x86_64"), ("", "arm64")], ids=["arm", "x86", "default"]
)
def test_a_built_template_has_one_architecture(tmp_path: Path, asked: str, built: str) -> None:
    """The built template allows the architecture that it was built for, and nothing else; all else stays as it was."""
    (tmp_path / "template.yaml").write_text(for_architecture(SOURCE, asked))

    document = Template.load(tmp_path / "template.yaml").document
    architecture = document["Parameters"]["Architecture"]
    assert (architecture["Default"], architecture["AllowedValues"]) == (built, [built])
    before = Template.load(ROOT / "template.yaml").document
    before["Parameters"]["Architecture"] |= {"Default": built, "AllowedValues": [built]}
    assert before == document


def test_other_architectures_are_refused() -> None:
    """A build for an architecture that Lambda does not have is refused with those that it has."""
    with pytest.raises(PackageError, match="'amd64', but must be one of arm64, x86_64"):
        for_architecture(SOURCE, "amd64")


def test_the_parameter_has_lambdas_architectures() -> None:
    """The template's parameter allows the architectures that a build knows."""
    assert [*ARCHITECTURES] == Template.load(ROOT / "template.yaml").document["Parameters"]["Architecture"][
        "AllowedValues"
    ]


@pytest.mark.parametrize(("architecture", "machine"), [("arm64", "aarch64"), ("x86_64", "x86_64")])
def test_the_parameter_chooses_the_packages(architecture: str, machine: str) -> None:
    """The makefile that SAM finds by the parameter installs packages for that architecture only."""
    layer = Template.load(ROOT / "template.yaml").document["Resources"]["DependenciesLayer"]
    context = layer["Metadata"]["ContextPath"]["Fn::Sub"].replace("${Architecture}", architecture)

    # As SAM runs it: the makefile by its path, in a copy of the layer's folder.
    done = subprocess.run(
        ["make", "-n", "--makefile", ROOT / context / "Makefile", "build-DependenciesLayer", "ARTIFACTS_DIR=out"],
        cwd=ROOT / layer["Properties"]["ContentUri"],
        capture_output=True,
        text=True,
        check=True,
    )

    words = done.stdout.split()
    platforms = [words[index + 1] for index, word in enumerate(words) if word == "--platform"]
    assert platforms
    assert all(platform.startswith("manylinux") and platform.endswith(f"_{machine}") for platform in platforms)


def test_machine_of_an_extension(tmp_path: Path) -> None:
    """The machine is read from the ELF header; a file that is none has no machine."""
    files = {"arm.so": elf(ARM64), "x86.so": elf(X86_64), "text.so": b"not a shared object", "short.so": b"\x7fELF"}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)

    assert [machine_of(tmp_path / name) for name in files] == [183, 62, None, None]


@pytest.mark.parametrize(("default", "machine"), [("arm64", ARM64), ("x86_64", X86_64)])
def test_a_build_of_one_architecture_is_accepted(tmp_path: Path, default: str, machine: bytes) -> None:
    """A build is accepted if all its compiled packages are for the template's architecture."""
    verify(build(tmp_path, default, machine, machine))


def test_a_mixed_build_is_refused(tmp_path: Path) -> None:
    """A build with a package for another architecture is refused, and the message has its path."""
    with pytest.raises(PackageError, match=r"not for arm64: _1\.so$"):
        verify(build(tmp_path, "arm64", ARM64, X86_64))


def test_a_build_without_compiled_packages_is_refused(tmp_path: Path) -> None:
    """A build whose layer has no compiled package is refused: the check would pass without comparing anything."""
    with pytest.raises(PackageError, match="has no compiled packages"):
        verify(build(tmp_path, "arm64"))


def test_runtime_behind_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that starts an interpreter of the runtime's version is not taken for the interpreter."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    script = tmp_path / f"python{version}"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr("package.RUNTIME", version)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("RUNTIME_PYTHON", raising=False)

    assert find_runtime() == Path(sys.executable)


def test_bytecode_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    """Bytecode names its source where Lambda mounts it, is used without a look at it, and depends on nothing else."""
    made = []
    for name in ("one", "the other"):
        (tmp_path / name / "python").mkdir(parents=True)
        (tmp_path / name / "python" / "module.py").write_text(
            "NAMES = {'a', 'b', 'c'}\ndef read():\n    return NAMES\n"
        )
        compile_folder(tmp_path / name, "/opt", Path(sys.executable))
        (compiled,) = (tmp_path / name).rglob("*.pyc")
        made.append(compiled.read_bytes())

    assert made[0] == made[1]
    assert int.from_bytes(made[0][4:8], "little") == 0b01  # a hash, which is not checked (PEP 552)
    assert marshal.loads(made[0][16:]).co_filename == "/opt/python/module.py"
