"""Make docs/pictures/listening.png: a listening page in Chromium, seven seconds in.

``python docs/listening_picture.py`` needs the extra ``dev`` and Chromium.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from musicnn_zoo import listening_page

ROOT = Path(__file__).parents[1]
CLIP = ROOT / "examples" / "audio" / "techno_loop.ogg"
PICTURE = ROOT / "docs" / "pictures" / "listening.png"


def main() -> None:
    """Write the picture."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = listening_page(CLIP, models=["MTT_musicnn", "MSD_musicnn"])
        place = page.save(Path(folder) / "techno.html")
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
            args=["--no-sandbox"],
        )
        tab = browser.new_page(viewport={"width": 1180, "height": 940})
        tab.goto(place.as_uri())
        tab.wait_for_selector("#play:enabled")
        tab.evaluate("document.getElementById('audio').currentTime = 7")
        tab.wait_for_timeout(500)
        tab.screenshot(path=PICTURE)
        browser.close()


if __name__ == "__main__":
    main()
