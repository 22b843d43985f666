"""Creates the project's virtual environments, from the locked requirements only.

Runs on any Python 3.11 or later with only the standard library, because `make` runs it first. Each environment has one
requirements file with a hash of every package, and is created again only if that file or the interpreter changes.
"""

from __future__ import annotations

import signal

if __name__ == "__main__":
    # Ctrl-C prints no traceback while the other modules are imported.
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import asyncio
import hashlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UV_REQUIREMENTS = ROOT / "requirements" / "uv.txt"
SILENT_SECONDS = 10
SLOW_SECONDS = 60


@dataclass(frozen=True)
class Environment:
    """A virtual environment, or with `layer` a plain folder of packages, as Lambda mounts it."""

    path: Path
    requirements: Path
    layer: bool = False

    @property
    def python(self) -> Path:
        """Its interpreter; a layer has none."""
        return self.path / "bin" / "python"

    @property
    def packages(self) -> Path:
        """The folder of the locked Node packages that it has besides, if there is one."""
        return self.requirements.with_suffix("")

    @property
    def stamp(self) -> Path:
        """The file that is written last, so that its presence means that the environment is complete."""
        return self.path / ".stamp"


ENVIRONMENTS = {
    "development": Environment(ROOT / ".venv", ROOT / "requirements" / "development.txt"),
    **{
        name: Environment(ROOT / ".venvs" / name, ROOT / "requirements" / f"{name}.txt")
        for name in (
            *("engine", "sam", "runtime", "client", "browser", "judges", "references"),
            *("node", "generators", "openapi-generator", "fuzz"),
        )
    },
    "layer": Environment(
        ROOT / ".build" / "local" / "dependencies" / "python",
        ROOT / "layers" / "dependencies" / "requirements.txt",
        layer=True,
    ),
}
LOCAL_RUN = ("development", "engine", "sam", "runtime", "layer")
# The client of the API is as partners install it, without the packages of this project.
TESTS = (*LOCAL_RUN, "client", "node", "generators")
# The local run also works without it, with a restriction that it prints: awslambdaric has wheels for Linux only.
OPTIONAL = ("runtime",)


class SetupError(Exception):
    """An environment could not be created; the message has the command that failed and its output."""


class UnreachableError(SetupError):
    """The package index could not be reached; the message has the reason, and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the package index cannot be reached: {reason}\n{ADVICE}")
        self.reason = reason


class NoWheelError(SetupError):
    """No wheel of a package is for this machine."""


ADVICE = """\
  - Without a connection: the first run needs one. Later runs need none.
  - Behind a proxy: set HTTPS_PROXY, and if it inspects TLS, SSL_CERT_FILE to a file with its certificate.
  - With an index of your own: set UV_DEFAULT_INDEX and PIP_INDEX_URL to its address.
Then run the same command again: what is installed stays."""

# What uv and pip print, in this order: a full disk also breaks a download, and pip reports an index that it cannot
# reach as one without the package.
LOCAL = re.compile(r"no space left|quota exceeded|read-only file|permission denied|hash mismatch|hashes", re.IGNORECASE)
UNREACHABLE = re.compile(
    r"failed to fetch|sending request|dns error|name resolution|certificate|timed out|proxy|after connection broken"
    r"|connection (refused|reset|aborted)|unreachable|HTTP (status|error)",
    re.IGNORECASE,
)
PIP_NOISE = re.compile(r"WARNING: .*broken by '|.*(?=\[(SSL|Errno))|\W+/\S*$")
NO_WHEEL = re.compile(r"no (usable )?wheels|building from source is disabled|no matching distribution", re.IGNORECASE)


async def run(*command: str | Path, **variables: str) -> None:
    """Run a command in the project's root, with these environment variables besides those of this process.

    Raises:
        UnreachableError: The command could not reach the package index.
        NoWheelError: It found no wheel for this machine.
        SetupError: It failed for another reason.
    """
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *map(str, command),
            cwd=ROOT,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a group of its own, so that an interruption ends the children of the command, too
        )
    )
    try:
        process = await asyncio.shield(starting)
        output, _ = await process.communicate()
    except asyncio.CancelledError:
        # Also a process that is being started, which asyncio would end without its children.
        process = await starting
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        raise
    if process.returncode:
        raise failure(f"`{' '.join(map(str, command))}` failed:\n{output.decode(errors='replace')}".rstrip())


def failure(text: str) -> SetupError:
    """The error for the text of a command that failed: its first line is the command, the others are the output."""
    lines = [line.strip() for line in text.splitlines()[1:]]
    if not any(map(LOCAL.search, lines)):
        if reasons := [line for line in lines if UNREACHABLE.search(line)]:
            # uv prints the innermost cause last; pip repeats the cause for each retry, in a line with other things.
            causes = [line.removeprefix("cause:").strip() for line in lines if line.startswith("cause:")]
            return UnreachableError(PIP_NOISE.sub("", (causes or reasons)[-1]))
        if NO_WHEEL.search(text):
            return NoWheelError(next(line for line in lines if NO_WHEEL.search(line)).removeprefix("cause: "))
    return SetupError(text)


RUNNING: set[str] = set()
"""The names of what is being set up."""


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print the duration of a step, and its name until it ends."""
    began = time.monotonic()
    RUNNING.add(name)
    try:
        yield
    finally:
        RUNNING.discard(name)
    echo(f"  {name}: {time.monotonic() - began:.1f} s")


async def make_venv(path: Path, *, pip: bool) -> None:
    """Create an empty virtual environment, and delete an existing one."""
    shutil.rmtree(path, ignore_errors=True)
    await run(sys.executable, "-m", "venv", *([] if pip else ["--without-pip"]), path)


# Of uv, of uv before it renamed the variable, and of pip.
SYSTEM_CERTIFICATES = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
if certificates := ssl.get_default_verify_paths().cafile or ssl.get_default_verify_paths().capath:
    SYSTEM_CERTIFICATES["PIP_CERT"] = certificates
TRUSTED = "the certificates that the system trusts"


class Installer:
    """Installs packages by uv, or by pip if uv is missing or cannot reach the index."""

    def __init__(self) -> None:
        self._home = ROOT / ".venvs" / "uv"
        self._lock = asyncio.Lock()
        self._told: set[str] = set()
        self._cache = writable_cache()
        self.uv: Path | None = None

    async def find(self) -> None:
        """Find uv on the path, or else install it in the project; there is none if it has no wheel for this machine.

        Raises:
            SetupError: It could not be installed.
        """
        stamp, uv = self._home / ".stamp", self._home / "bin" / "uv"
        if found := shutil.which("uv"):
            uv = Path(found)
        elif not (uv.exists() and is_written(stamp, UV_REQUIREMENTS)):
            with step("uv, which installs the others"):
                await self.install(["--only-binary", ":all:", "--require-hashes", "-r", UV_REQUIREMENTS], None)
            stamp.write_text(fingerprint(UV_REQUIREMENTS))
        self.uv = uv

    async def install(self, arguments: Sequence[str | Path], python: Path | None) -> None:
        """Install packages in the environment of an interpreter; None if `arguments` name a folder.

        Raises:
            UnreachableError: The package index could not be reached.
            NoWheelError: A package has no wheel for this machine.
            SetupError: They could not be installed.
        """
        refused: UnreachableError | None = None
        for uv, trust in product([self.uv, None] if self.uv else [None], [{}, SYSTEM_CERTIFICATES]):
            if refused:
                if trust and "certificate" not in refused.reason.lower():
                    continue
                self._tell(f"  {refused.reason}; trying {TRUSTED if trust else 'pip'}")
            command = [uv, "pip", "install", "--quiet", "--python", python or sys.executable] if uv else None
            try:
                await run(*(command or await self._pip(python)), *arguments, **self._cache, **trust)
            except UnreachableError as error:
                refused = error
            else:
                return
        if refused:
            raise refused

    async def _pip(self, python: Path | None) -> Sequence[str | Path]:
        """The command of a pip in an environment of its own."""
        stamp = self._home / ".pip"
        async with self._lock:
            if not any(is_written(one, UV_REQUIREMENTS) for one in (stamp, self._home / ".stamp")):
                await make_venv(self._home, pip=True)
                stamp.write_text(fingerprint(UV_REQUIREMENTS))
        into = ("--python", python) if python else ()
        quiet = ("--quiet", "--no-input", "--disable-pip-version-check", "--retries", "2")
        return (self._home / "bin" / "python", "-m", "pip", *into, "install", *quiet)

    def _tell(self, line: str) -> None:
        if line not in self._told:
            echo(line)
        self._told.add(line)


def writable_cache() -> dict[str, str]:
    """The variable that gives uv a cache in the project if this user's folder for caches cannot be written."""
    if "UV_CACHE_DIR" in os.environ:
        return {}
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            return {}
    except (OSError, RuntimeError):  # read-only, or there is no home
        return {"UV_CACHE_DIR": str(ROOT / ".venvs" / "cache")}


def fingerprint(requirements: Path) -> str:
    """A hash of the requirements, the interpreter and the project's path."""
    digest = hashlib.sha256(requirements.read_bytes())
    packages = requirements.with_suffix("") / "package-lock.json"
    digest.update(packages.read_bytes() if packages.exists() else b"")
    digest.update(f"{sys.version} {sys.platform} {ROOT}".encode())
    return digest.hexdigest()


def is_written(stamp: Path, requirements: Path) -> bool:
    """Whether a stamp was written for these requirements, so that its environment is complete and up to date."""
    return stamp.exists() and stamp.read_text() == fingerprint(requirements)


async def install(environment: Environment, installer: Installer, *, binary: bool) -> None:
    """Create an environment, and write its stamp when it is complete.

    Args:
        binary: Take a package that must be compiled for this machine first for one without a wheel.
    """
    locked: list[str | Path] = ["--require-hashes", "-r", environment.requirements]
    if environment.layer:
        shutil.rmtree(environment.path, ignore_errors=True)
        environment.path.mkdir(parents=True)
        await installer.install([*locked, "--target", environment.path], None)
        # Otherwise the first call of each function would compile them.
        with suppress(SetupError):  # a module for another version of Python
            await run(sys.executable, "-m", "compileall", "-qq", environment.path)
    else:
        await make_venv(environment.path, pip=False)
        await installer.install([*(["--only-binary", ":all:"] if binary else []), *locked], environment.python)
    if environment.packages.is_dir():
        shutil.copytree(environment.packages, environment.path, dirs_exist_ok=True)
        # npm does not find its own lock file through a symbolic link.
        await run(*npm(environment), "ci", "--prefix", environment.path.resolve())
    if environment is ENVIRONMENTS["development"]:
        # The project's own packages and its `ordering` command.
        await installer.install(["--no-deps", "--no-build-isolation", "--editable", ROOT], environment.python)
    environment.stamp.write_text(fingerprint(environment.requirements))


def npm(environment: Environment) -> tuple[Path, str]:
    """The command of an environment's npm, with the settings beside its lock file."""
    return environment.path / "bin" / "npm", f"--userconfig={environment.packages / '.npmrc'}"


async def ensure(names: Sequence[str]) -> None:
    """Create the environments that are missing or out of date, concurrently.

    Raises:
        SetupError: An environment could not be created.
    """
    stale = [name for name in names if not is_written(ENVIRONMENTS[name].stamp, ENVIRONMENTS[name].requirements)]
    if not stale:
        return
    echo(f"setting up {', '.join(stale)} (once; at most a minute on a fast connection)")
    installer = Installer()
    with suppress(NoWheelError):
        await installer.find()

    async def make(name: str) -> None:
        environment = ENVIRONMENTS[name]
        try:
            with step(name):
                await install(environment, installer, binary=name in OPTIONAL)
        except NoWheelError as error:
            if name not in OPTIONAL:
                raise
            echo(f"  {name}: not available on this machine, continuing without it ({error})")
            # The stamp alone, so that later runs do not look for it again.
            shutil.rmtree(environment.path, ignore_errors=True)
            environment.path.mkdir()
            environment.stamp.write_text(fingerprint(environment.requirements))

    # One that fails does not end the others.
    for failed in await asyncio.gather(*map(make, stale), return_exceptions=True):
        if failed:
            raise failed


async def lock() -> None:
    """Resolve all requirements to the newest compatible versions, with hashes.

    Raises:
        SetupError: uv has no wheel for this machine, or the requirements cannot be resolved.
    """
    installer = Installer()
    await installer.find()
    # The layer first, because the development environment uses its versions.
    layer = ROOT / "layers" / "dependencies" / "requirements.in"
    for source in (layer, *sorted((ROOT / "requirements").glob("*.in"))):
        target = source.with_suffix(".txt").relative_to(ROOT)
        options = ("--quiet", "--universal", "--generate-hashes", "--upgrade", "--python-version", "3.11")
        named = ("--custom-compile-command", "make lock", source.relative_to(ROOT), "-o", target)
        await run(installer.uv or "uv", "pip", "compile", *options, *named)
        echo(f"  {target}")
    await ensure(["node"])
    packages = ENVIRONMENTS["node"].packages
    await run(*npm(ENVIRONMENTS["node"]), "update", "--package-lock-only", "--prefix", packages)
    echo(f"  {(packages / 'package-lock.json').relative_to(ROOT)}")


def echo(line: str) -> None:
    """Print a line to the terminal."""
    print(line, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Create the environments with these names; returns the exit code.

    Without names it creates those that the local run needs; with `--all` those that the tests need as well.
    """
    if sys.version_info < (3, 11):  # noqa: UP036 - this is the check
        echo(f"Python 3.11 or later is needed, this is {sys.version.split()[0]}; choose one with `make PYTHON=…`")
        return 2
    if arguments == ["--lock"]:
        return asyncio.run(attempt(lock()))
    names = TESTS if arguments == ["--all"] else arguments or LOCAL_RUN
    if unknown := set(names) - set(ENVIRONMENTS):
        echo(f"there is no environment {', '.join(sorted(unknown))}; there are: {', '.join(ENVIRONMENTS)}")
        return 2
    return asyncio.run(attempt(ensure(names)))


async def attempt(task: Coroutine[None, None, None]) -> int:
    """Run a task, and print its error if it fails, and a line from time to time; returns the exit code.

    A signal ends the processes that run, with their children.
    """
    running, stopped = asyncio.ensure_future(task), []

    def stop(number: int) -> None:
        stopped.append(number)
        running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    began = time.monotonic()
    while not (await asyncio.wait([running], timeout=SILENT_SECONDS))[0]:
        seconds = time.monotonic() - began
        slow = "; the connection, the package index or this machine is slow" if seconds > SLOW_SECONDS else ""
        if names := ", ".join(sorted(RUNNING)):
            echo(f"  … {names} ({seconds:.0f} s{slow})")
    try:
        await running
    except SetupError as error:
        echo(str(error))
        return 1
    except asyncio.CancelledError:
        with suppress(OSError):  # a terminal that was closed
            echo("\nstopped; the same command goes on from here")
        return 128 + stopped[0]
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
