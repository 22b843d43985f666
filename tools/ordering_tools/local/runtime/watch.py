"""Detects changed sources of the local run, by polling a hundred files or two a few times a second."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from ordering_tools.installation import ROOT
from ordering_tools.local.runtime.build import PAGES, copied_parts
from ordering_tools.template import Template, TemplateError

PAGES_SOURCES = [ROOT / "docs", ROOT / "tools/ordering_tools/documents/site_files"]
"""What the pages of the reference are made from."""

_Mark = tuple[str, tuple[int, int]]
"""A file, and when it was written and its size."""


class Watcher:
    """The template, its functions' folders and its layers' folders."""

    def __init__(self, template: Path) -> None:
        self._template = template.resolve()
        self._folders: list[Path] = []
        self._known: dict[str, tuple[int, int]] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._known = self._seen = self._look()

    def changed(self) -> list[Path]:
        """The files that changed since the last result, once they have stopped changing."""
        before, self._seen = self._seen, self._look()
        if self._seen != before or self._seen == self._known:
            return []
        known, self._known = self._known, self._seen
        return sorted({Path(path) for path, _ in known.items() ^ self._known.items()})

    def _look(self) -> dict[str, tuple[int, int]]:
        marks = dict(_marks([self._template]))
        if not marks.items() <= self._seen.items():
            # A template that is being edited may be invalid: the same folders are watched on.
            with suppress(TemplateError):
                parts = copied_parts(Template.load(self._template), self._template.parent)
                self._folders = [*parts.values(), *(PAGES_SOURCES if PAGES in parts else [])]
        return marks | {path: mark for folder in self._folders for path, mark in _marks_below(folder)}


def _marks_below(folder: Path | str) -> Iterator[_Mark]:
    """The marks of the files that `build.sources` finds, at a fifth of its time: an idle run does nothing else."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield from _marks([entry])
            elif entry.name != "__pycache__":
                yield from _marks_below(entry.path)


def _marks(files: Iterable[Path | os.DirEntry[str]]) -> Iterator[_Mark]:
    for file in files:
        with suppress(FileNotFoundError):
            status = file.stat()
            yield os.fspath(file), (status.st_mtime_ns, status.st_size)
