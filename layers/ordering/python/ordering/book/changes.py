"""Changes in the stream of the orders table, the tasks that follow them, and the handlers of the tasks.

Each context has a `Follower` that derives tasks from changes of its own items. The stream's consumer collects the tasks
of a batch, so that a task is carried out once however many changes require it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from ordering.aws.dynamodb import Item, Key
from ordering.book.unfinished import PROGRESS
from ordering.values import Value, field

SETTLE = "settle"
"""Move a book's head. The subject is the book's name."""

MAIL = "mail"
"""Send an order's mails. The subject is the order's name."""

PUBLISH = "publish"
"""Publish an order's events. The subject is the order's name."""

_log = logging.getLogger("ordering")

Subject = tuple[str, ...]
"""The ids of the item that a task is for; the task's name defines which ids these are."""

Task = tuple[str, Subject]
"""A task's name and subject. Any process can carry it out at any time, any number of times."""

Do = Callable[[Sequence[Subject]], Collection[Subject]]
"""Carries out the tasks of one name and returns those that failed; if it raises, all of them failed."""


class Change(Value):
    """An item before and after a change; `before` is None for an item that was inserted, empty if it is not known."""

    key: Key
    before: Item | None
    after: Item

    @property
    def is_look(self) -> bool:
        """Whether an item is looked at again, and not changed."""
        return self.before == {}

    @property
    def is_of_progress(self) -> bool:
        """Whether nothing but the progress of the tasks' own work has changed: a mark, or the number of events."""
        return bool(self.before) and _without_progress(self.before) == _without_progress(self.after)


Derive = Callable[[Change], Iterable[Task]]
"""Returns the tasks that follow a change; none for an item of another context."""


class Follower(Value):
    """Derives tasks from the changes of one context's items, and carries them out; for one invocation."""

    tasks_of: Derive
    handlers: Mapping[str, Do]
    """The handlers of the context's own tasks, by name, in the order in which they run."""
    slow_handlers: Mapping[str, Do] = field(default_factory=dict)
    """Likewise, for tasks that use all the time that is left: they run after all other handlers."""
    histories: Mapping[str, Callable[[Sequence[str]], Mapping[str, Any]]] = field(default_factory=dict)
    """The readers of many histories in few calls, by the kind of order; see `events.publisher.ReadHistories`."""


def _without_progress(item: Item | None) -> Item:
    return {name: value for name, value in (item or {}).items() if name not in PROGRESS}


def rose(change: Change, amount: Callable[[Item | None], int]) -> bool:
    """Return whether an amount that an item holds is larger after a change."""
    return amount(change.after) > amount(change.before)


def reached(change: Change, status: StrEnum, status_of: Callable[[Item], str]) -> bool:
    """Return whether an order reached a status by a change."""
    return status_of(change.after) == status and not (change.before and status_of(change.before) == status)


def each(do: Callable[..., object]) -> Do:
    """Return a handler that carries out tasks one by one, by calling `do` with each subject's parts."""

    def all_of(subjects: Sequence[Subject]) -> list[Subject]:
        failed = []
        for subject in subjects:
            try:
                do(*subject)
            except Exception:  # noqa: BLE001 - a failed task must not keep the others from being carried out
                _log.exception("task failed", extra={"subject": subject})
                failed.append(subject)
        return failed

    return all_of
