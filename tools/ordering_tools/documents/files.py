"""Files that are generated from the code, compared with the committed ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

EXAMPLE_ADDRESS = "https://api.example.com"
"""The address of the API in documents; a page that the API serves has its own address in the place of this one."""


def update(folder: Path, pattern: str, wanted: Mapping[str, str], *, check: bool = False) -> list[str]:
    """Write the files that are missing or differ, and delete those that the code does not generate.

    Args:
        pattern: Matches all files that are generated and no others.
        wanted: The text of each file by its path from the folder.
        check: Change nothing.

    Returns:
        The paths of these files.
    """
    there = {path.relative_to(folder).as_posix(): path for path in folder.glob(pattern) if path.is_file()}
    texts = {name: path.read_text(encoding="utf-8") for name, path in there.items()}
    stale = sorted(name for name in wanted.keys() | texts.keys() if wanted.get(name) != texts.get(name))
    for name in () if check else stale:
        if name not in wanted:
            there[name].unlink()
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(wanted[name], encoding="utf-8")
    return stale
