"""The sizes of the artefacts, beside the same requirements as pip installs them."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryFile

from benchmarks.artefacts.built import ARCHITECTURE, LAYERS, STAGE, NotBuilt, build_all
from benchmarks.engine import ROOT
from benchmarks.report import Results, Section, budget
from package import RUNTIME

NAME = "sizes"
_REQUIREMENTS = ROOT / "layers" / "dependencies" / "requirements.txt"
_PLAIN = STAGE / "plain"
_MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}


def run() -> Section:
    """Measure them."""
    built = build_all()
    plain, dependencies, ordering = (_sizes(folder) for folder in (_install(), LAYERS[0], LAYERS[1]))
    functions = [_sizes(candidate.folder) for candidate in built.ours.values()]
    largest = max(size for size, _ in functions), max(size for _, size in functions)
    rows = [
        _row("dependencies, as pip installs them", plain, plain),
        _row("dependencies, the layer", dependencies, plain),
        _row("the project's layer", ordering),
        _row(f"the largest of {len(functions)} functions", largest),
    ]
    zipped, unzipped = (ours / its for ours, its in zip(dependencies, plain, strict=True))
    musts = [
        budget("layer of dependencies ÷ pip's, zipped", zipped, must=0.55, aim=0.25),
        budget("layer of dependencies ÷ pip's, unzipped", unzipped, must=0.72, aim=0.30),
    ]
    return Section(NAME, "Sizes", _EXPLANATION, [Results("10^6 bytes", _COLUMNS, rows)], musts)


_COLUMNS = ("<what", "zipped", "÷ pip's", "unzipped", "÷ pip's")
_EXPLANATION = f"""
What `make build` makes, in zip files with the usual compression, beside `pip install --target` of the same locked
requirements. Ours has bytecode besides; pip's has none, since it is made for another machine's Python.
Both are for Python {RUNTIME} on {ARCHITECTURE}.
"""


def _row(name: str, sizes: tuple[float, float], plain: tuple[float, float] | None = None) -> list[str]:
    ratios = [f"{ours / its:.2f}" for ours, its in zip(sizes, plain, strict=True)] if plain else ["", ""]
    return [name, f"{sizes[0]:.2f}", ratios[0], f"{sizes[1]:.2f}", ratios[1]]


def _sizes(folder: Path) -> tuple[float, float]:
    """Return the size of a folder's contents, zipped and unzipped, in 10^6 bytes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    with TemporaryFile() as zipped:
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in files:
                archive.write(path, path.relative_to(folder))
        return zipped.tell() / 1e6, sum(path.stat().st_size for path in files) / 1e6


def _install() -> Path:
    """Install the requirements as they are, once for each lock."""
    target = _PLAIN / hashlib.sha256(_REQUIREMENTS.read_bytes()).hexdigest()[:12]
    if target.exists():
        return target
    machine = _MACHINES[ARCHITECTURE]
    platforms = [f"--platform=manylinux_{glibc}_{machine}" for glibc in ("2_34", "2_28", "2_17")]
    into = target.with_suffix(".new")
    shutil.rmtree(into, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
    command += ["--no-deps", "--only-binary=:all:", "--implementation=cp", f"--python-version={RUNTIME}", *platforms]
    command += [f"--platform=manylinux2014_{machine}", "--no-compile"]
    done = subprocess.run(  # noqa: S603 - the project's own pip
        [*command, "--requirement", str(_REQUIREMENTS), "--target", str(into)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotBuilt(f"pip cannot install {_REQUIREMENTS}:\n{done.stderr.strip()}")
    into.rename(target)
    return target
