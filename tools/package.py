"""Prepares what `sam build` packages: the template, the functions and the layers, compiled for the functions' runtime.

In Lambda the code's folders are read-only, so that a function without bytecode compiles every module that it imports at
every cold start. The bytecode has unchecked hashes: Lambda need not look at the sources, whose times packaging changes.
Only an interpreter of the runtime's own version can make it.

    package.py --stage FOLDER ARCHITECTURE    copy the project to FOLDER, with its bytecode, and a template for one
                                              architecture: arm64 or x86_64; the template's default if it is empty
    package.py --compile FOLDER MOUNT         compile FOLDER, which Lambda mounts at MOUNT
    package.py --verify FOLDER                check that the packages that `sam build` put into FOLDER are for the
                                              architecture of the template there
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ordering_tools.documents.site import SiteError, write_site
from ordering_tools.local.runtime.build import PAGES

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = "3.13"
"""The version of the functions' `Runtime` in the template."""

ARCHITECTURES = {"arm64": 183, "x86_64": 62}
"""The number of each of Lambda's architectures in the header of ELF files."""

_PARAMETER = re.compile(r"(?m)(?<=^  Architecture:\n    Type: String\n)    Default: (\w+)\n    AllowedValues: .*\n")
_RELEASE = re.compile(r"(?m)^( +RELEASE: )\S+$")
_IGNORED = shutil.ignore_patterns("__pycache__")


class PackageError(Exception):
    """The artefacts cannot be made here; the message says what is missing."""


def interpreters() -> Iterator[str | Path]:
    """Yield the commands that may be an interpreter of the runtime's version, the likeliest first."""
    yield from filter(None, [os.environ.get("RUNTIME_PYTHON")])
    yield f"python{RUNTIME}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{RUNTIME}.*/bin/python{RUNTIME}"), reverse=True)
    for uv in (shutil.which("uv"), ROOT / ".venvs" / "uv" / "bin" / "uv"):
        if uv and Path(uv).exists():
            found = subprocess.run(  # noqa: S603 - uv says where its interpreters are
                [uv, "python", "find", RUNTIME], capture_output=True, text=True, check=False
            )
            yield from found.stdout.splitlines()


def find_runtime() -> Path:
    """Return the path of an interpreter of the runtime's version: the interpreter itself, not a script that starts it.

    Raises:
        PackageError: There is none on this machine.
    """
    ask = "import sys; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for command in interpreters():
        try:
            done = subprocess.run(  # noqa: S603 - the candidates are this module's own
                [command, "-c", ask], capture_output=True, text=True, check=False
            )
        except OSError:
            continue
        version, _, executable = done.stdout.strip().partition(" ")
        if version == RUNTIME:
            return Path(executable)
    raise PackageError(
        f"The functions run on Python {RUNTIME}, and only Python {RUNTIME} can compile them. Install it "
        f"(`uv python install {RUNTIME}`, `pyenv install {RUNTIME}` or your system's package), or name it: "
        f"`make build RUNTIME_PYTHON=/path/to/python{RUNTIME}`."
    )


def compile_folder(folder: Path, mounted: str, runtime: Path) -> None:
    """Compile a folder's modules in place; the bytecode names them where Lambda mounts the folder.

    Raises:
        PackageError: A module cannot be compiled.
    """
    options: list[str | Path] = ["-q", "--invalidation-mode", "unchecked-hash", "-s", folder, "-p", mounted]
    done = subprocess.run(  # noqa: S603 - compileall of the interpreter that was found
        [runtime, "-m", "compileall", *options, folder], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PackageError(f"{folder} cannot be compiled:\n{done.stdout}{done.stderr}".rstrip())


def for_architecture(template: str, architecture: str) -> str:
    """Return a template whose parameter Architecture has one value only, so that a deployment cannot choose another.

    Args:
        template: Its text, with comments and short tags.
        architecture: The value; the parameter's default if it is empty.

    Raises:
        PackageError: Lambda has no such architecture, or the template has no such parameter.
    """
    found = _PARAMETER.search(template)
    if not found:
        raise PackageError("the template has no parameter Architecture with a Default and AllowedValues")
    value = architecture or found[1]
    if value not in ARCHITECTURES:
        raise PackageError(f"ARCHITECTURE is {value!r}, but must be one of {', '.join(ARCHITECTURES)}")
    return _PARAMETER.sub(f"    Default: {value}\n    AllowedValues: [{value}]\n", template)


def release_of(folder: Path) -> str:
    """Return a hash of the paths and contents of all files of a folder; it begins with a letter, so it is no number."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(content)}\0".encode() + content)
    return f"r{digest.hexdigest()[:15]}"


def for_release(template: str, release: str) -> str:
    """Return a template whose functions have a release in their environment, so that they get new versions with it.

    Raises:
        PackageError: The template's functions have no variable RELEASE.
    """
    text, places = _RELEASE.subn(rf"\g<1>{release}", template)
    if places != 1:
        raise PackageError("the template must have one variable RELEASE, in Globals.Function.Environment.Variables")
    return text


def verify(built: Path) -> None:
    """Check that all compiled extensions in a build's layers are for the architecture of its functions.

    Args:
        built: The folder with the template that `sam build` wrote.

    Raises:
        PackageError: A file is for another architecture, or there is no such file, which no build of the layer leaves.
    """
    found = re.search(r"(?m)^  Architecture:\n(?:    .*\n)*?    Default: (\w+)$", (built / "template.yaml").read_text())
    wanted = found[1] if found else ""
    extensions = sorted(built.rglob("*.so"))
    if not extensions:
        raise PackageError(f"{built} has no compiled packages")
    if wrong := [str(path.relative_to(built)) for path in extensions if machine_of(path) != ARCHITECTURES.get(wanted)]:
        raise PackageError(f"these files in {built} are not for {wanted or 'any architecture'}: {', '.join(wrong)}")


def machine_of(path: Path) -> int | None:
    """Return the number of the architecture in the header of a little-endian ELF file; None if it is none."""
    with path.open("rb") as file:
        header = file.read(20)
    return int.from_bytes(header[18:20], "little") if header[:4] == b"\x7fELF" and len(header) == 20 else None


def stage(target: Path, runtime: Path, architecture: str) -> None:
    """Copy the template, the functions and the layers to a folder, and compile what is the project's own.

    `sam build` then calls the makefile of the dependencies layer, which compiles the packages that it installs.

    Raises:
        PackageError: A module cannot be compiled, or `for_architecture` fails.
        SiteError: The pages of the reference cannot be made.
    """
    template = for_architecture((ROOT / "template.yaml").read_text(encoding="utf-8"), architecture)
    shutil.rmtree(target, ignore_errors=True)
    for name in ("functions", "layers"):
        shutil.copytree(ROOT / name, target / name, ignore=_IGNORED)
    write_site(target / PAGES / "site")
    path = target / "template.yaml"
    path.write_text(template, encoding="utf-8")
    path.write_text(for_release(template, release_of(target)), encoding="utf-8")
    for module in target.glob("functions/*/*/app.py"):
        compile_folder(module.parent, "/var/task", runtime)
    compile_folder(target / "layers" / "ordering", "/opt", runtime)


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    try:
        match arguments:
            case ["--stage", folder, architecture]:
                stage(Path(folder), find_runtime(), architecture)
            case ["--compile", folder, mounted]:
                compile_folder(Path(folder), mounted, find_runtime())
            case ["--verify", folder]:
                verify(Path(folder))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (PackageError, SiteError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
