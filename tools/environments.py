"""Creates the project's virtual environments, from the locked requirements only.

Runs on any Python 3.11 or later with only the standard library, because `make` runs it first. Each environment has one
requirements file with a hash of every package, and is created again only if that file or the interpreter changes.
"""

from __future__ import annotations

import compileall
import hashlib
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV_REQUIREMENTS = ROOT / "requirements" / "uv.txt"


@dataclass(frozen=True)
class Environment:
    """A virtual environment, or with `layer` a plain folder of packages, as Lambda mounts it."""

    path: Path
    requirements: Path
    layer: bool = False
    optional: bool = False
    """Whether the local run also works without it, with a restriction that it prints."""
    only_tests: bool = False
    """Whether only the tests need it."""

    @property
    def python(self) -> Path:
        """Its interpreter; a layer has none."""
        return self.path / "bin" / "python"

    @property
    def stamp(self) -> Path:
        """The file that is written last, so that its presence means that the environment is complete."""
        return self.path / ".stamp"


ENVIRONMENTS = {
    "development": Environment(ROOT / ".venv", ROOT / "requirements" / "development.txt"),
    "engine": Environment(ROOT / ".venvs" / "engine", ROOT / "requirements" / "engine.txt"),
    "sam": Environment(ROOT / ".venvs" / "sam", ROOT / "requirements" / "sam.txt"),
    # awslambdaric has wheels for Linux only.
    "runtime": Environment(ROOT / ".venvs" / "runtime", ROOT / "requirements" / "runtime.txt", optional=True),
    # A client of the API as partners install it, without the packages of this project.
    "client": Environment(ROOT / ".venvs" / "client", ROOT / "requirements" / "client.txt", only_tests=True),
    "layer": Environment(
        ROOT / ".build" / "local" / "dependencies" / "python",
        ROOT / "layers" / "dependencies" / "requirements.txt",
        layer=True,
    ),
}


class SetupError(Exception):
    """An environment could not be created; the message has the command that failed and its output."""


def run(*command: str | Path) -> None:
    """Run a command in the project's root.

    Raises:
        SetupError: The command failed.
    """
    done = subprocess.run(  # noqa: S603 - the commands of this module
        [str(part) for part in command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SetupError(f"`{' '.join(map(str, command))}` failed:\n{done.stdout}{done.stderr}".rstrip())


def make_venv(path: Path, *, pip: bool) -> None:
    """Create an empty virtual environment, and delete an existing one."""
    shutil.rmtree(path, ignore_errors=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    run(sys.executable, "-m", "venv", *([] if pip else ["--without-pip"]), path)


def find_uv() -> Path | None:
    """Uv on the path, or else installed in the project; None if uv has no wheel for this machine."""
    if found := shutil.which("uv"):
        return Path(found)
    home = ROOT / ".venvs" / "uv"
    stamp = home / ".stamp"
    uv = home / "bin" / "uv"
    if stamp.exists() and stamp.read_text() == fingerprint(UV_REQUIREMENTS) and uv.exists():
        return uv
    make_venv(home, pip=True)
    try:
        run(
            home / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "-r",
            UV_REQUIREMENTS,
        )
    except SetupError:
        return None
    stamp.write_text(fingerprint(UV_REQUIREMENTS))
    return uv


def fingerprint(requirements: Path) -> str:
    """A hash of the requirements, the interpreter and the project's path."""
    digest = hashlib.sha256(requirements.read_bytes())
    digest.update(f"{sys.version} {sys.platform} {ROOT}".encode())
    return digest.hexdigest()


def is_current(environment: Environment) -> bool:
    """Whether an environment is complete and up to date."""
    stamp = environment.stamp
    return stamp.exists() and stamp.read_text() == fingerprint(environment.requirements)


def install(environment: Environment, uv: Path | None) -> None:
    """Create an environment, and write its stamp when it is complete."""
    locked: list[str | Path] = ["--require-hashes", "-r", environment.requirements]
    if environment.layer:
        shutil.rmtree(environment.path, ignore_errors=True)
        environment.path.mkdir(parents=True)
        pip = [uv, "pip", "install", "--python", sys.executable] if uv else [sys.executable, "-m", "pip", "install"]
        run(*pip, "--quiet", *locked, "--target", environment.path)
        # Otherwise the first call of each function would compile them.
        compileall.compile_dir(environment.path, quiet=2)
    elif uv:
        make_venv(environment.path, pip=False)
        run(uv, "pip", "install", "--quiet", "--python", environment.python, *locked)
    else:
        make_venv(environment.path, pip=True)
        run(environment.python, "-m", "pip", "install", "--quiet", *locked)
    if environment is ENVIRONMENTS["development"]:
        link_project(environment, uv)
    environment.stamp.write_text(fingerprint(environment.requirements))


def link_project(environment: Environment, uv: Path | None) -> None:
    """Install the project's own packages and its `ordering` command in the environment, as editable."""
    editable: list[str | Path] = ["--no-deps", "--no-build-isolation", "--editable", ROOT]
    if uv:
        run(uv, "pip", "install", "--quiet", "--python", environment.python, *editable)
    else:
        run(environment.python, "-m", "pip", "install", "--quiet", *editable)


def ensure(names: list[str]) -> None:
    """Create the environments that are missing or out of date, concurrently.

    Raises:
        SetupError: An environment could not be created.
    """
    stale = [name for name in names if not is_current(ENVIRONMENTS[name])]
    if not stale:
        return
    echo(f"setting up {', '.join(stale)} (once; at most a minute on a fast connection)")
    uv = find_uv()

    def make(name: str) -> None:
        began = time.monotonic()
        environment = ENVIRONMENTS[name]
        try:
            install(environment, uv)
        except SetupError as error:
            if not environment.optional:
                raise
            shutil.rmtree(environment.path, ignore_errors=True)
            echo(f"  {name}: not available on this machine, continuing without it ({str(error).splitlines()[-1]})")
        else:
            echo(f"  {name}: {time.monotonic() - began:.1f} s")

    with ThreadPoolExecutor() as pool:
        list(pool.map(make, stale))


def lock() -> None:
    """Resolve all requirements to the newest compatible versions, with hashes.

    Raises:
        SetupError: There is no uv for this machine, or the requirements cannot be resolved.
    """
    uv = find_uv()
    if uv is None:
        raise SetupError("locking needs uv, which has no wheel for this machine")
    folder = ROOT / "requirements"
    # The layer first, because the development environment uses its versions.
    for source in [ROOT / "layers" / "dependencies" / "requirements.in", *sorted(folder.glob("*.in"))]:
        target = source.with_suffix(".txt").relative_to(ROOT)
        options = ["--universal", "--generate-hashes", "--upgrade", "--python-version", "3.11"]
        origin = ["--custom-compile-command", "make lock"]
        run(uv, "pip", "compile", "--quiet", *options, *origin, source.relative_to(ROOT), "-o", target)
        echo(f"  {target}")


def echo(line: str) -> None:
    """Print a line to the terminal."""
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Create the environments with these names; returns the exit code.

    Without names it creates those that the local run needs; with `--all` it creates all.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - this is the check
        echo(f"Python 3.11 or later is needed, this is {sys.version.split()[0]}; choose one with `make PYTHON=…`")
        return 2
    if arguments == ["--lock"]:
        return attempt(lock)
    if arguments == ["--all"]:
        return attempt(lambda: ensure(list(ENVIRONMENTS)))
    if unknown := set(arguments) - set(ENVIRONMENTS):
        echo(f"there is no environment {', '.join(sorted(unknown))}; there are: {', '.join(ENVIRONMENTS)}")
        return 2
    needed = [name for name, environment in ENVIRONMENTS.items() if not environment.only_tests]
    return attempt(lambda: ensure(arguments or needed))


def attempt(task: Callable[[], None]) -> int:
    """Run a task, and print its error if it fails; returns the exit code."""
    try:
        task()
    except SetupError as error:
        echo(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
