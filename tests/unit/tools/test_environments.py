"""Setting up the environments: indexes that cannot be reached, caches, signals, and what has no wheel.

uv and pip are shell scripts here. What they print was printed by uv 0.13.9 and pip 23.2.1.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from gateway.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]

UNREACHABLE = """\
error: Request failed after 3 retries in 6.1s
  cause: Failed to fetch: https://pypi.org/simple/awslambdaric/
  cause: error sending request for url (https://pypi.org/simple/awslambdaric/)
  cause: client error (Connect)
  cause: dns error
  cause: failed to lookup address information: Name or service not known"""
UNTRUSTED = """\
error: Failed to fetch: https://pypi.org/simple/awslambdaric/
  cause: error sending request for url (https://pypi.org/simple/awslambdaric/)
  cause: client error (Connect)
  cause: invalid peer certificate: UnknownIssuer

hint: Consider enabling use of system TLS certificates with the --system-certs command-line flag"""
NO_WHEEL = """\
error: No solution found when resolving dependencies
  cause: Because awslambdaric==4.2.2 has no usable wheels and you require awslambdaric==4.2.2, we can conclude that …

hint: Wheels are required for awslambdaric because building from source is disabled for all packages"""
DISK_FULL = """\
error: Failed to fetch: https://files.pythonhosted.org/packages/awslambdaric-4.2.2.whl
  cause: failed to write to file: No space left on device (os error 28)"""
PIP_NO_WHEEL = """\
ERROR: Could not find a version that satisfies the requirement awslambdaric==4.2.2 (from versions: none)
ERROR: No matching distribution found for awslambdaric==4.2.2"""
PIP_RETRY = "WARNING: Retrying (Retry(total=0, connect=None, read=None)) after connection broken by"
CONNECTION = "<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7fa0>"
PIP_REFUSED = f"""\
{PIP_RETRY} 'NewConnectionError('{CONNECTION}: Failed to …: [Errno 111] Connection refused')': /simple/awslambdaric/
{PIP_NO_WHEEL}"""
PIP_UNTRUSTED = f"""\
{PIP_RETRY} \
'SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: \
self-signed certificate (_ssl.c:1006)'))': /simple/awslambdaric/
{PIP_NO_WHEEL}"""


def failing(text: str) -> str:
    """The lines of a script that prints a text and fails."""
    return f"printf '%s\\n' '{text.replace(chr(39), chr(34))}' >&2; exit 1"


@dataclass(frozen=True)
class Project:
    """A project with the real tools/environments.py, and with uv and pip as a test wants them."""

    path: Path

    @property
    def module(self) -> ModuleType:
        spec = importlib.util.spec_from_file_location("environments_of_a_test", self.path / "tools" / "environments.py")
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    def uv(self, script: str) -> None:
        """Put this uv on the path."""
        write(self.path / "bin" / "uv", f'echo "uv $*" >>"{self.path}/calls"\n{script}')

    def pip(self, script: str) -> None:
        """Give the project this pip."""
        home = self.path / ".venvs" / "uv"
        write(home / "bin" / "python", f'echo "pip $*" >>"{self.path}/calls"\n{script}')
        (home / ".pip").write_text(self.module.fingerprint(self.path / "requirements" / "uv.txt"))

    def calls(self) -> list[str]:
        """The programs that were called since the last time."""
        log = self.path / "calls"
        found = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return [line.split()[0] for line in found]

    def start(self, *names: str, **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, self.path / "tools" / "environments.py", *names],
            env={"PATH": str(self.path / "bin"), "HOME": str(self.path / "home"), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *names: str, **variables: str) -> tuple[int, str]:
        """Set up environments; returns the exit code and what was printed."""
        process = self.start(*names, **variables)
        printed, _ = process.communicate(timeout=60)
        assert "Traceback" not in printed
        return process.returncode, printed


def write(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    path = tmp_path / "a project"
    (path / "tools").mkdir(parents=True)
    (path / "home").mkdir()
    (path / "bin").mkdir()
    (path / "layers" / "dependencies").mkdir(parents=True)
    shutil.copy(ROOT / "tools" / "environments.py", path / "tools")
    shutil.copytree(ROOT / "requirements", path / "requirements")
    shutil.copy(ROOT / "layers" / "dependencies" / "requirements.txt", path / "layers" / "dependencies")
    for program in ("chmod", "sleep"):
        found = shutil.which(program)
        assert found
        (path / "bin" / program).symlink_to(found)
    return Project(path)


@pytest.mark.parametrize(
    ("output", "kind", "reason"),
    [
        (UNREACHABLE, "UnreachableError", "failed to lookup address information: Name or service not known"),
        (UNTRUSTED, "UnreachableError", "invalid peer certificate: UnknownIssuer"),
        (PIP_REFUSED, "UnreachableError", "[Errno 111] Connection refused"),
        (PIP_UNTRUSTED, "UnreachableError", "certificate verify failed: self-signed certificate"),
        (NO_WHEEL, "NoWheelError", "awslambdaric==4.2.2 has no usable wheels"),
        (PIP_NO_WHEEL, "NoWheelError", "No matching distribution found for awslambdaric==4.2.2"),
        (DISK_FULL, "SetupError", "No space left on device"),
        ("error: Hash mismatch for `awslambdaric==4.2.2`", "SetupError", "Hash mismatch"),
        ("error: Permission denied", "SetupError", "`install` failed:\nerror: Permission denied"),
    ],
)
def test_kinds_of_failures(project: Project, output: str, kind: str, reason: str) -> None:
    """What uv and pip print tells an index that cannot be reached, a missing wheel and all other failures apart."""
    error = project.module.failure(f"`install` failed:\n{output}")

    assert type(error).__name__ == kind
    assert reason in str(error)
    assert "WARNING" not in str(error)


def test_certificates_of_the_system(project: Project) -> None:
    """Behind a proxy that inspects TLS, uv is called again and trusts the certificates that the system trusts."""
    project.uv(f'[ "$UV_SYSTEM_CERTS" ] && exit 0\n{failing(UNTRUSTED)}')

    code, printed = project.run("runtime")

    assert code == 0
    assert "UnknownIssuer; trying the certificates that the system trusts" in printed
    assert project.calls() == ["uv", "uv"]


@pytest.mark.parametrize("text", [UNREACHABLE, UNTRUSTED])
def test_pip_where_uv_cannot_reach_the_index(project: Project, text: str) -> None:
    """An index that only pip can reach, by its own settings, is enough."""
    project.uv(failing(text))
    project.pip("exit 0")

    code, printed = project.run("runtime", "layer")

    assert code == 0
    assert printed.count("; trying pip") == 1
    assert {"uv", "pip"} == set(project.calls())


def test_pip_with_the_certificates_of_the_system(project: Project) -> None:
    """A pip that brings its own certificates is called again with those of the system."""
    project.uv(failing(UNTRUSTED))
    project.pip(f'[ "$PIP_CERT" ] && exit 0\n{failing(PIP_UNTRUSTED)}')

    assert project.run("engine")[0] == 0
    assert project.calls() == ["uv", "uv", "pip", "pip"]


@pytest.mark.parametrize("name", ["engine", "runtime", "layer"])
def test_no_index(project: Project, name: str) -> None:
    """If nothing reaches the index, the set-up fails with the reason and what to do; nothing is called unavailable."""
    project.uv(failing(UNREACHABLE))
    project.pip(failing(PIP_REFUSED))

    code, printed = project.run(name)

    assert code == 1
    assert "the package index cannot be reached: [Errno 111] Connection refused" in printed
    for variable in ("HTTPS_PROXY", "SSL_CERT_FILE", "UV_DEFAULT_INDEX", "PIP_INDEX_URL"):
        assert variable in printed
    assert "not available" not in printed
    project.uv("exit 0")
    assert project.run(name)[0] == 0


def test_no_index_for_uv(project: Project) -> None:
    """If uv cannot be installed because nothing reaches the index, nothing else is tried."""
    project.pip(failing(PIP_REFUSED))

    code, printed = project.run("engine", "runtime", "layer")

    assert code == 1
    assert printed.count("cannot be reached") == 1
    assert project.calls() == ["pip"]


def test_uv_is_installed_in_the_project(project: Project) -> None:
    """Without uv on the path, pip installs it in the project, once."""
    uv = project.path / ".venvs" / "uv" / "bin" / "uv"
    project.pip(f"printf '#!/bin/sh\\nexit 0\\n' >'{uv}'; chmod +x '{uv}'")

    assert project.run("engine")[0] == 0
    assert project.run("runtime")[0] == 0

    assert project.calls() == ["pip"]


def test_no_uv_for_this_machine(project: Project) -> None:
    """Where uv has no wheel, pip installs everything."""
    project.pip(f"case $* in *uv.txt*) {failing(PIP_NO_WHEEL)};; esac")

    assert project.run("engine", "runtime")[0] == 0
    assert project.calls() == ["pip", "pip", "pip"]


def test_no_wheel(project: Project) -> None:
    """What the local run can do without is called unavailable if it has no wheel here, and is not tried again."""
    project.uv(failing(NO_WHEEL))

    code, printed = project.run("runtime")

    assert code == 0
    assert (
        "runtime: not available on this machine, continuing without it (Because awslambdaric==4.2.2 has no" in printed
    )
    assert not (project.path / ".venvs" / "runtime" / "bin").exists()
    project.calls()
    assert project.run("runtime") == (0, "")
    assert project.calls() == []


def test_no_wheel_of_what_is_needed(project: Project) -> None:
    """A missing wheel of any other package fails the set-up."""
    project.uv(failing(NO_WHEEL))

    code, printed = project.run("engine")

    assert code == 1
    assert "has no usable wheels" in printed


def test_other_failures(project: Project) -> None:
    """Any other failure fails the set-up with the output of the command, also of what the local run can do without."""
    project.uv(failing(DISK_FULL))

    code, printed = project.run("runtime")

    assert code == 1
    assert "No space left on device" in printed
    assert "not available" not in printed
    assert set(project.calls()) == {"uv"}


def test_home_that_cannot_be_written(project: Project) -> None:
    """uv keeps its cache in the project if the folder for caches cannot be written, unless the user has named one."""
    project.uv(f'echo "$UV_CACHE_DIR" >>"{project.path}/caches"')
    (project.path / "home" / ".cache").touch()

    codes = [
        project.run("engine")[0],
        project.run("runtime", XDG_CACHE_HOME=str(project.path / "other"))[0],
        project.run("sam", UV_CACHE_DIR="/mine")[0],
    ]

    assert codes == [0, 0, 0]
    caches = (project.path / "caches").read_text().splitlines()
    assert caches == [str(project.path / ".venvs" / "cache"), "", "/mine"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(project: Project, number: signal.Signals) -> None:
    """A signal ends the set-up and all of its processes, without a traceback; the next run completes it."""
    ids = project.path / "ids"
    os.mkfifo(ids)
    project.uv(f'sleep 600 & echo "$$ $!" >"{ids}"; wait')
    process = project.start("engine")
    started = [int(text) for text in ids.read_text().split()]

    process.send_signal(number)
    printed, _ = process.communicate(timeout=60)

    assert process.returncode == 128 + number
    assert printed.endswith("\nstopped; the same command goes on from here\n")
    assert "Traceback" not in printed
    assert len(started) == 2
    assert eventually(lambda: not any(map(runs, started)))
    project.uv("exit 0")
    assert project.run("engine")[0] == 0


def runs(process: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_progress(project: Project) -> None:
    """While a download takes long, lines name what is being installed, and after a minute the connection."""
    code = project.path / "tools" / "environments.py"
    text = code.read_text()
    assert "SLOW_SECONDS = 60\n" in text
    code.write_text(text.replace("SLOW_SECONDS = 60\n", "SLOW_SECONDS = 0\n"))
    done = project.path / "done"
    project.uv(f"while ! [ -e '{done}' ]; do sleep 0.05; done")
    process = project.start("engine")
    assert process.stdout

    lines = [process.stdout.readline(), process.stdout.readline()]
    done.touch()
    rest, _ = process.communicate(timeout=60)

    assert lines[0].startswith("setting up engine")
    assert lines[1].startswith("  … engine (")
    assert lines[1].endswith(" s; the connection, the package index or this machine is slow)\n")
    assert (process.returncode, rest[:10]) == (0, "  engine: ")
