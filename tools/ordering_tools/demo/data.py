"""Reads `data.yaml`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from ordering.identity.accounts import Partner

DATA: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("data.yaml").read_text(encoding="utf-8"))


def demo_partners(grant: str) -> list[Partner]:
    """The demo's partners that have a grant."""
    defaults = {"active": True, "payment_terms": "invoice", "business_units": ()}
    entries = [
        {"id": name, **defaults, **entry, "users": {entry["user"]["id"]: entry["user"]}}
        for name, entry in DATA["partners"].items()
        if grant in entry["grants"]
    ]
    return msgspec.convert(entries, list[Partner])
