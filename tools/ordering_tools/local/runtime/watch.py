"""Detects changed sources of the local run, by polling a few dozen files a few times a second."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ordering_tools.local.runtime.build import copied_parts, sources
from ordering_tools.template import Template, TemplateError

_Marks = dict[Path, tuple[int, int]]


class Watcher:
    """The template, its functions' folders and its layers' folders."""

    def __init__(self, template: Path) -> None:
        self._template = template.resolve()
        self._folders: list[Path] = []
        self._known: _Marks = {}
        self._seen: _Marks = {}
        self._known = self._seen = self._look()

    def changed(self) -> list[Path]:
        """The files that changed since the last result, once they have stopped changing."""
        before, self._seen = self._seen, self._look()
        if self._seen != before or self._seen == self._known:
            return []
        known, self._known = self._known, self._seen
        return sorted({path for path, _ in known.items() ^ self._known.items()})

    def _look(self) -> _Marks:
        marks = _marks([self._template])
        if not marks.items() <= self._seen.items():
            # A template that is being edited may be invalid: the same folders are watched on.
            with suppress(TemplateError):
                self._folders = [*copied_parts(Template.load(self._template), self._template.parent).values()]
        return marks | _marks([path for folder in self._folders for path in sources(folder)])


def _marks(files: list[Path]) -> _Marks:
    found: _Marks = {}
    for path in files:
        with suppress(FileNotFoundError):
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size)
    return found
