"""Opens the pages of the reference in a browser, tries a call, and prints what it saw as JSON.

It runs in the environment `browser` with a Chromium of the machine:

    visit.py URL CHROMIUM FOLDER               visit the API at URL, and write a picture of each visit to FOLDER
    visit.py --pictures URL CHROMIUM FOLDER    write the pictures for README to FOLDER; the terminal's is of the input
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Error, Page, sync_playwright

PATIENCE = 120_000
"""Milliseconds that a page may take: the machine may be busy, and the renderer is large."""
SETTLES = 1_000
"""Milliseconds in which the renderer finishes what it shows."""
WIDE, NARROW = (1280, 900), (320, 800)
Scheme = Literal["light", "dark"]
# The renderer is large, so it is not opened in every combination.
REFERENCE: tuple[tuple[tuple[int, int], Scheme], ...] = ((WIDE, "light"), (WIDE, "dark"), (NARROW, "dark"))
GUIDES = ["start", "tokens", "lists", "creates", "errors", "rate-limits"]
GUIDES += ["webhooks", "lifecycles", "testing", "changes"]
OPERATION = "/#tag/training-products/GET/api/v2/products"


@dataclass
class Visit:
    """What one visit of a page showed."""

    name: str
    address: str
    messages: list[str] = field(default_factory=list)
    """Errors and warnings of the browser's console."""
    elsewhere: list[str] = field(default_factory=list)
    """Requests to other hosts."""
    violations: dict[str, list[str]] = field(default_factory=dict)
    """The rules of axe that the page breaks, with the elements."""
    width: int = 0
    """How wide the contents are, in pixels."""
    result: str = ""
    """What trying a call showed."""


@dataclass(frozen=True)
class Tour:
    """The visits to one API."""

    browser: Browser
    base: str
    """Its address."""
    folder: Path
    """Where pictures are written."""

    def judge(self, page: Page, visit: Visit) -> None:
        """Have axe judge a page, measure it, and take its picture."""
        for one in Axe().run(page).response["violations"]:
            visit.violations[one["id"]] = [node["html"][:200] for node in one["nodes"]]
        visit.width = page.evaluate("document.documentElement.scrollWidth")
        page.screenshot(path=self.folder / f"{visit.name}.png")

    def read_guide(self, name: str, size: tuple[int, int], scheme: Scheme) -> Visit:
        """Open a guide."""
        visit = Visit(f"{name}-{size[0]}-{scheme}", f"/docs/{name}")
        with self.opened(visit, size, scheme) as page:
            self.judge(page, visit)
        return visit

    def read_reference(self, size: tuple[int, int], scheme: Scheme) -> Visit:
        """Open the reference at a call."""
        visit = Visit(f"reference-{size[0]}-{scheme}", OPERATION)
        with self.opened(visit, size, scheme) as page:
            page.get_by_role("heading", name="Get all products").first.wait_for()
            page.wait_for_timeout(SETTLES)
            self.judge(page, visit)
        return visit

    def try_call(self) -> Visit:
        """Send a call from the reference, with the token that the local run fills in."""
        visit = Visit("tried", OPERATION)
        with self.opened(visit, WIDE, "light") as page:
            page.locator("button", has_text="(get /api/v2/products)").first.click()
            with page.expect_response(lambda answer: "/api/v2/products?" in answer.url) as answered:
                page.get_by_role("button", name="Send").first.click()
            visit.result = f"{answered.value.status} {answered.value.json()['_pageInfo']['totalItemCount']}"
            page.wait_for_timeout(SETTLES)
            page.screenshot(path=self.folder / f"{visit.name}.png")
        return visit

    def switch_contract(self) -> Visit:
        """Choose the token of deal orders, and return the one that a call then has."""
        visit = Visit("switched", "/#tag/deal-orders/GET/v2/orders")
        with self.opened(visit, WIDE, "light") as page:
            page.get_by_label("Try as").select_option("Deal orders")
            page.locator("button", has_text="(get /v2/orders)").first.click()
            with page.expect_request(lambda request: "/v2/orders?" in request.url) as sent:
                page.get_by_role("button", name="Send").first.click()
            visit.result = sent.value.headers.get("authorization", "").removeprefix("Bearer ")
        return visit

    def authorize(self) -> Visit:
        """Get a token with the client of e-card orders, and send a call with it."""
        visit = Visit("authorized", "/#tag/e-card-balance/GET/v1/balance")
        with self.opened(visit, WIDE, "light") as page:
            page.get_by_label("Try as").select_option("E-card orders")
            with page.expect_response(lambda answer: answer.url.endswith("/connect/token")) as issued:
                page.get_by_role("button", name="Authorize").first.click()
            visit.result = f"{issued.value.status}"
            page.get_by_role("button", name="Clear tokens").first.wait_for()  # the page has the token now
            page.locator("button", has_text="(get /v1/balance)").first.click()
            with page.expect_response(lambda answer: "/v1/balance" in answer.url) as answered:
                page.get_by_role("button", name="Send").first.click()
            visit.result += f" {answered.value.status}"
        return visit

    def use_keyboard(self) -> Visit:
        """Press the tabulator key and Enter, and note what has the focus after each."""
        visit = Visit("keyboard", "/docs/start")
        with self.opened(visit, WIDE, "light") as page:
            page.keyboard.press("Tab")
            visit.result = page.evaluate("document.activeElement.textContent")
            page.keyboard.press("Enter")
            visit.result += " -> " + page.evaluate("document.activeElement.id")
        return visit

    @contextmanager
    def opened(self, visit: Visit, size: tuple[int, int], scheme: Scheme) -> Iterator[Page]:
        """Open a visit's page, and note what the browser reports."""
        width, height = size
        context = self.browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda one: visit.messages.append(one.text) if one.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: visit.messages.append(str(error)))
        page.on("request", lambda one: None if one.url.startswith(self.own) else visit.elsewhere.append(one.url))
        page.goto(self.base + visit.address, wait_until="load")
        yield page
        context.close()

    @property
    def own(self) -> tuple[str, ...]:
        """How the addresses begin that no other host sees."""
        return (self.base, "data:", "blob:")

    def visits(self) -> Iterator[Visit]:
        """Make all visits."""
        for size, scheme in REFERENCE:
            yield self.read_reference(size, scheme)
        for name in GUIDES:
            yield self.read_guide(name, WIDE, "light")
            yield self.read_guide(name, NARROW, "dark")
        yield self.try_call()
        yield self.switch_contract()
        yield self.authorize()
        yield self.use_keyboard()


TERMINAL = """<!doctype html><style>
body {{ margin: 0; background: #10141c; color: #dfe5f0; }}
pre {{ margin: 0; padding: 22px 26px; font: 14px/1.5 monospace; white-space: pre-wrap; overflow-wrap: anywhere; }}
b {{ color: #8fd6a4; font-weight: normal; }}
</style><pre>{text}</pre>"""


def take_pictures(tour: Tour) -> None:
    """Write the pictures of the reference and of a terminal."""
    visit = Visit("reference", OPERATION)
    with tour.opened(visit, (1200, 700), "light") as page:
        page.get_by_role("heading", name="Get all products").first.wait_for()
        page.wait_for_timeout(SETTLES)
        page.screenshot(path=tour.folder / "reference.png")
    lines = [f"<b>{escape(one)}</b>" if one.startswith(("$", "    ")) else escape(one) for one in sys.stdin]
    page = tour.browser.new_page(viewport={"width": 960, "height": 400})
    page.set_content(TERMINAL.format(text="".join(lines).rstrip()))
    page.screenshot(path=tour.folder / "terminal.png", full_page=True)


def main(arguments: list[str]) -> int:
    """Visit all pages, or take the pictures for README; returns the exit code."""
    base, chromium, pictures = arguments[-3:]
    folder = Path(pictures)
    folder.mkdir(parents=True, exist_ok=True)
    # Chromium's sandbox needs a user other than root.
    options = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        try:
            tour = Tour(browser, base, folder)
            if arguments[0] == "--pictures":
                take_pictures(tour)
            else:
                print(json.dumps([asdict(visit) for visit in tour.visits()]))
        except Error as error:
            print(f"a page did not do what it must: {error}", file=sys.stderr)
            return 1
        finally:
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
