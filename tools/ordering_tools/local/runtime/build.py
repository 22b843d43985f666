"""Stage what the local run executes: functions and layers as Lambda mounts them, never the source tree.

Each build is a folder of its own, named after its content, below `releases/`. `functions/` and one folder per
layer are links into the current release, so a switch to a new one is a single rename: a running process never
sees half of one, and keeps the release it was started from.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from py_compile import PycInvalidationMode

from ordering_tools.template import Template

_KEPT_RELEASES = 5


class BuildError(Exception):
    """The build cannot be made; the message says what is missing."""


def build(template_path: Path, target: Path) -> Path:
    """Stage the functions and layers of the template below `target` and return the release.

    A layer that a build command fills (its dependencies) is not copied but linked: `target/<folder>` must hold it
    already. Unchanged sources give the release that is there, so that this is cheap to call.

    Raises:
        BuildError: A function's or a layer's folder is missing.
        TemplateError: The template cannot be read.
    """
    template = Template.load(template_path)
    parts = _parts(template, template_path.resolve().parent)
    made = [layer.content.name for layer in template.layers if layer.built]
    for name in made:
        if not (target / name).is_dir():
            raise BuildError(f"the layer {name} is not in {target}; `make` puts it there")
    release = target.resolve() / "releases" / _digest(parts)
    if not release.exists():
        _stage(parts, made, release)
    _link(target / "current", Path("releases") / release.name)
    for name in sorted({part.parts[0] for part in parts}):
        _link(target / name, Path("current") / name)
    _prune(release)
    return release


def _parts(template: Template, root: Path) -> dict[Path, Path]:
    """Where each copied part goes in a release, and where it comes from."""
    parts = {function.code: root / function.code for function in template.functions}
    parts |= {Path(layer.content.name): root / layer.content for layer in template.layers if not layer.built}
    for part, source in parts.items():
        if not source.is_dir():
            raise BuildError(f"{part}: there is no folder {source}")
    return parts


def _sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _digest(parts: dict[Path, Path]) -> str:
    digest = hashlib.sha256()
    for part, source in sorted(parts.items()):
        for path in _sources(source):
            content = path.read_bytes()
            digest.update(f"{part / path.relative_to(source)}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def _stage(parts: dict[Path, Path], made: list[str], release: Path) -> None:
    release.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".staging-", dir=release.parent))
    try:
        for part, source in parts.items():
            shutil.copytree(source, staging / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name in made:
            (staging / name).symlink_to(Path("../..") / name)
        # What does not compile is reported by the function that imports it, as in Lambda.
        compileall.compile_dir(
            staging,
            quiet=2,
            stripdir=str(staging),
            prependdir=str(release),
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
        staging.chmod(0o755)
        try:
            staging.rename(release)
        except OSError:
            # Another run has just made the same one.
            if not release.is_dir():
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _link(link: Path, target: Path) -> None:
    """Point a symbolic link somewhere else in one step."""
    if link.is_symlink() and link.readlink() == target:
        return
    if link.is_dir() and not link.is_symlink():
        shutil.rmtree(link)
    fresh = link.with_name(f".{link.name}-{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def _prune(current: Path) -> None:
    current.touch()
    releases = sorted(
        (path for path in current.parent.iterdir() if not path.name.startswith(".")),
        key=lambda path: path.stat().st_mtime,
    )
    for release in releases[:-_KEPT_RELEASES]:
        shutil.rmtree(release, ignore_errors=True)
