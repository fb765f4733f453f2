"""Someone at a browser."""

import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

#: Longer than anything the console promises.
PATIENCE_MS = 20_000

#: What the browser speaks of when a page wants something that its headers forbid.
POLICY = "Content Security Policy"

#: axe's words for faults that keep people from using a page.
GRAVE = {"serious", "critical"}


def launch(playwright: Playwright, program: str) -> Browser:
    # A container's shared memory may be smaller than the browser likes.
    return playwright.chromium.launch(executable_path=program, args=["--disable-dev-shm-usage"])


class Visitor:
    """One window; nothing it loads may come from elsewhere, and no script of ours may fail."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.page.set_default_timeout(PATIENCE_MS)
        self.errors: list[str] = []
        self.addresses: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text) if POLICY in line.text else None)
        page.on("request", lambda request: self.addresses.append(request.url))

    def log_in(self, name: str, password: str) -> None:
        """Fill in the form that is shown."""
        self.page.fill("input[name=username]", name)
        self.page.fill("input[name=password]", password)
        self.page.click("input[type=submit], button[type=submit]")

    def open_console(self) -> None:
        self.page.goto("/console/")
        self.log_in("admin", "admin")
        expect(self.page).to_have_url(re.compile(r"/console/$"))

    def stage(self, name: str) -> Locator:
        """How many messages are at a stage of the pipeline."""
        return self.page.locator(".pipeline li", has=self.page.get_by_role("heading", name=name)).locator(".count")

    def order(self, number: str) -> Locator:
        """The row of an order."""
        return self.page.locator("#orders tr", has_text=number)

    def says(self, place: str, words: str | re.Pattern[str], *, within_seconds: float = PATIENCE_MS / 1000) -> None:
        """Wait until `place` says so."""
        expect(self.page.locator(place)).to_contain_text(words, timeout=within_seconds * 1000)

    def grave_faults(self) -> list[str]:
        """What axe finds that is serious or critical, each with where it is."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{fault['id']}: {node['target']} {node['failureSummary']}"
            for fault in found
            if fault["impact"] in GRAVE
            for node in fault["nodes"]
        ]
