"""Make docs/pictures/app.png: the page of ``musicnn-zoo app`` in Chromium, while it listens.

``python docs/app_picture.py`` needs the extra ``dev``, Chromium, and what the site needs of npm.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import threading
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from musicnn_zoo.web.serving import SiteServer
from musicnn_zoo.web.site import write_site

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "app.png"
MODELS = ["MTT_musicnn", "MSD_musicnn"]


def main() -> None:
    """Write the picture."""
    place = os.environ.get("MUSICNN_ZOO_RUNTIME")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        site = write_site(Path(folder), models=MODELS, runtime=Path(place) if place else None)
        with SiteServer(site) as server:
            threading.Thread(target=server.serve, daemon=True).start()
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
                args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"],
            )
            tab = browser.new_page(viewport={"width": 1180, "height": 860})
            tab.goto(server.url)
            tab.get_by_role("button", name="Techno loop").click()
            until_most_is_there(tab)
            tab.screenshot(path=PICTURE)
            browser.close()
            server.stop()


def until_most_is_there(tab: Page) -> None:
    """Wait for 60 per cent of the rows."""
    facts = tab.locator(".row-facts").first
    facts.wait_for()
    while not re.search(r"[6-9]\d %", facts.inner_text()):
        tab.wait_for_timeout(20)


if __name__ == "__main__":
    main()
