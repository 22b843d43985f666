"""The keys of what is stored, as the functions that are measured beside these write them."""

import json
import os
from typing import Any

LAYOUT: dict[str, Any] = json.loads(os.environ["LAYOUT"])
HEAD: list[tuple[str, str]] = [(pk, sk) for pk, sk in LAYOUT["head"]]
"""The items with a book's total."""
TICKETS = next((pk, sk) for pk, sk in HEAD if pk.startswith("TICKETS#"))
PAGES: dict[str, list[tuple[str, str, str]]] = LAYOUT["pages"]
"""The ranges of keys of the first page: partition, first and last, by the page's size."""
SEQUENCE = ("SEQUENCE#training", "-")
BLOCK = 10
"""How many ids are reserved at once."""

ORDERS_TABLE = os.environ["ORDERS_TABLE"]
CATALOGUE_TABLE = os.environ["CATALOGUE_TABLE"]
ACCOUNTS_TABLE = os.environ["ACCOUNTS_TABLE"]
