"""The page on costs is what its command writes, and its arithmetic is that of the prices."""

from __future__ import annotations

from benchmarks import cost


def test_the_page_is_the_commands() -> None:
    """docs/cost.md has the units that the code uses now, and the prices of the list."""
    assert cost.document() == cost.DOCUMENT.read_text(encoding="utf-8"), "run `python -m benchmarks.cost`"


def test_prices_are_applied() -> None:
    """Each unit costs its price, and time and logs are billed by the assumed sizes."""
    units = cost.Units({"gateway": 1, "invocation": 2, "ms": 100, "write": 10, "sign": 1, "mail": 1})
    costs = cost.priced(units, cost.prices()["prices"], "us-east-1")

    assert {name: round(amount, 3) for name, amount in costs.items() if amount} == {
        "gateway": 3.5,
        "invocation": 0.4,
        "memory": 0.667,
        "write": 6.25,
        "sign": 15.0,
        "mail": 100.0,
        "log": 1.5,
    }


def test_every_price_has_its_page() -> None:
    """Each price has a number for each region, and a page of AWS."""
    listed = cost.prices()

    assert listed["date"]
    for price in listed["prices"].values():
        assert price["page"].startswith("https://aws.amazon.com/")
        assert all(price[region] > 0 for region in listed["regions"])
        assert price["per"] >= 1
