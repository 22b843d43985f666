"""SES in memory: accepts mails as the service does, and raises chosen errors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ordering.aws.ses import Letter, Ses
from support.plans import Plan

SENDER = "Orders <orders@example.com>"
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")


@dataclass(frozen=True)
class Taken:
    """A mail that was accepted; it is sent to no address."""

    id: str
    letter: Letter
    tags: Mapping[str, str]

    @property
    def told(self) -> Mapping[str, Sequence[str]]:
        """Its tags as SES's events have them."""
        return {name: [value] for name, value in self.tags.items()} | {"ses:operation": ["SendEmail"]}


@dataclass
class MemorySes:
    """The service, with all the mails that it took."""

    taken: list[Taken] = field(default_factory=list)
    _faults: list[tuple[BaseException | None, bool, Plan]] = field(default_factory=list)

    def meet(self, *errors: BaseException | None, taken: bool = False) -> None:
        """Let the next calls raise these, one each; None is a call that goes well. A test that ends before fails."""
        self._faults += [(error, taken or error is None, Plan(f"SES: {error!r}")) for error in errors]

    def __call__(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        assert operation == "SendEmail"
        error: BaseException | None = None
        has_effect = True
        if self._faults:
            error, has_effect, plan = self._faults.pop(0)
            plan.close()
        if has_effect:
            self.taken.append(_read(request, len(self.taken) + 1))
        if error:
            raise error
        return {"MessageId": self.taken[-1].id}

    @property
    def ses(self) -> Ses:
        return Ses(self, SENDER, "mails")

    @property
    def letters(self) -> list[Letter]:
        return [one.letter for one in self.taken]


def _read(request: Mapping[str, Any], number: int) -> Taken:
    tags = {tag["Name"]: tag["Value"] for tag in request["EmailTags"]}
    assert all(_TAG.fullmatch(text) for pair in tags.items() for text in pair), tags
    content = request["Content"]["Simple"]
    (to,) = request["Destination"]["ToAddresses"]
    html = content["Body"].get("Html", {"Data": ""})["Data"]
    letter = Letter(to, content["Subject"]["Data"], content["Body"]["Text"]["Data"], html)
    return Taken(f"mail-{number}", letter, tags)
