"""Run the JavaScript module in Node, and serve sites."""

import json
import shutil
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from conftest import ROOT

from musicnn_zoo.web.serving import SiteServer

MODULE = ROOT / "musicnn_zoo" / "web"
SESSION = ROOT / "tests" / "web_session.mjs"


def in_node(task, *, module=MODULE, **order):
    """Return what a task of ``web_session.mjs`` prints."""
    ran = subprocess.run(
        [shutil.which("node"), SESSION, f"{module}/"],
        input=json.dumps({"task": task, **order}, default=str),
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert (ran.stderr, ran.returncode) == ("", 0)
    return json.loads(ran.stdout)


def as_sound(path: Path, signal, rate):
    """Write a signal, mono or ``(channels, samples)``, for ``web_session.mjs``."""
    channels = np.atleast_2d(np.asarray(signal, "<f4"))
    path.write_bytes(channels.tobytes())
    return {"file": str(path), "rate": rate, "channels": len(channels)}


@contextmanager
def serving_site(site):
    with SiteServer(site) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(10)
            assert not thread.is_alive()


@contextmanager
def opened(chromium, site, page="", *, width=1440, scheme="light", before="", **options):
    """Open a page; it must ask for nothing but its own folder, and complain of nothing."""
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, **options
    )
    if before:
        context.add_init_script(before)
    tab = context.new_page()
    complaints = []
    tab.on("console", lambda message: complaints.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    tab.on("dialog", lambda dialog: (complaints.append("dialog"), dialog.dismiss()))
    context.on(
        "request",
        lambda request: (
            request.url.startswith((site.url, f"blob:{site.url}", "data:,"))
            or complaints.append(f"request: {request.url}")
        ),
    )
    tab.goto(site.url + page)
    tab.wait_for_selector(":root.ready")
    yield tab
    assert not complaints, complaints
    context.close()


def until(tab, expression: str) -> None:
    """Wait until it holds; Playwright's own way needs what the page's policy forbids."""
    for _ in range(1200):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    raise TimeoutError(f"{expression}; {tab.inner_text('main')}")
