"""Builds what the local run executes: functions and layers as Lambda mounts them, not the source tree.

Each build is a folder below `releases/`, named after a hash of its content. A running process never sees a part of a
release, and keeps the release with which it was started.
"""

from __future__ import annotations

import compileall
import hashlib
import shutil
import tempfile
from pathlib import Path
from py_compile import PycInvalidationMode

from ordering_tools.template import Template

PAGES = Path("functions/reference/pages")
"""The function whose folder has the pages of the reference, which are made by the build."""

_KEPT_RELEASES = 5


class BuildError(Exception):
    """The build failed; the message names what is missing."""


def build(template_path: Path, target: Path) -> Path:
    """Build the functions and layers of the template below `target`, and return the folder of the release.

    A layer with a build command (the dependencies) is not copied but linked, and must be in `target/<folder>` already.
    Unchanged sources give the existing release, so that this is cheap to call.

    Raises:
        BuildError: A function's or a layer's folder is missing.
        TemplateError: The template cannot be read.
    """
    template = Template.load(template_path)
    parts = copied_parts(template, template_path.resolve().parent)
    for part, source in parts.items():
        if not source.is_dir():
            raise BuildError(f"{part}: there is no folder {source}")
    if PAGES in parts:
        parts[PAGES / "site"] = _pages(target / "site")
    built = [layer.content.name for layer in template.layers if layer.built]
    for name in built:
        if not (target / name).is_dir():
            raise BuildError(f"the layer {name} is missing in {target}; `make` installs it")
    release = target.resolve() / "releases" / _digest(parts)
    if not release.exists():
        _stage(parts, built, release)
    _prune(release)
    return release


def _pages(folder: Path) -> Path:
    """Make the pages of the reference in a folder, and return it."""
    from ordering_tools.documents.site import SiteError, write_site  # noqa: PLC0415 - stacks of tests have no pages

    try:
        write_site(folder)
    except SiteError as error:
        raise BuildError(str(error)) from error
    return folder


def copied_parts(template: Template, root: Path) -> dict[Path, Path]:
    """The functions, and the layers without a build command: path in the release, and source folder."""
    parts = {folder: root / folder for folder in template.functions.values()}
    return parts | {Path(layer.content.name): root / layer.content for layer in template.layers if not layer.built}


def sources(folder: Path) -> list[Path]:
    """The files of a source folder."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _digest(parts: dict[Path, Path]) -> str:
    digest = hashlib.sha256()
    for part, source in sorted(parts.items()):
        for path in sources(source):
            content = path.read_bytes()
            digest.update(f"{part / path.relative_to(source)}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def _stage(parts: dict[Path, Path], built: list[str], release: Path) -> None:
    release.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".staging-", dir=release.parent) as folder:
        staging = Path(folder) / release.name
        for part, source in parts.items():
            shutil.copytree(source, staging / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name in built:
            (staging / name).symlink_to(Path("../..") / name)
        # A syntax error is reported when the function imports the module, as in Lambda.
        compileall.compile_dir(
            staging,
            quiet=2,
            stripdir=str(staging),
            prependdir=str(release),
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
        try:
            staging.rename(release)
        except OSError:
            # Another run has just built the same release.
            if not release.is_dir():
                raise


def _prune(current: Path) -> None:
    current.touch()
    releases = sorted(
        (path for path in current.parent.iterdir() if not path.name.startswith(".")),
        key=lambda path: path.stat().st_mtime,
    )
    for release in releases[:-_KEPT_RELEASES]:
        shutil.rmtree(release, ignore_errors=True)
