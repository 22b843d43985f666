"""Detects changed sources of the local run, by polling a few dozen files a few times a second."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from ordering_tools.template import Template, TemplateError

_Snapshot = dict[Path, tuple[int, int]]


class Watcher:
    """The template, its functions' folders and its layers' folders."""

    def __init__(self, template: Path) -> None:
        self._template = template.resolve()
        self._folders: list[Path] = []
        self._known: _Snapshot = {}
        self._seen: _Snapshot = {}
        self._known = self._seen = self._look()

    def changed(self) -> list[Path]:
        """The files that changed since the last result, once they have stopped changing."""
        before, self._seen = self._seen, self._look()
        if self._seen != before or self._seen == self._known:
            return []
        known, self._known = self._known, self._seen
        return sorted(path for path in known.keys() | self._known if known.get(path) != self._known.get(path))

    def _look(self) -> _Snapshot:
        if _mark(self._template) != self._seen.get(self._template):
            self._read_template()
        files = [path for folder in self._folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
        return {path: mark for path in [self._template, *files] if (mark := _mark(path))}

    def _read_template(self) -> None:
        # A template that is being edited may be invalid: the same folders are watched on.
        with suppress(TemplateError):
            template = Template.load(self._template)
            sources = [function.code for function in template.functions]
            sources += [layer.content for layer in template.layers if not layer.built]
            self._folders = [self._template.parent / source for source in sources]


def _mark(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_mtime_ns, status.st_size) if S_ISREG(status.st_mode) else None
