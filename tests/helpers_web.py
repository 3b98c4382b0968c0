"""Run the JavaScript module in Node, and serve sites."""

import http.server
import json
import shutil
import subprocess
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from conftest import ROOT
from helpers_pages import serving, watched

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


def serving_site(site):
    return serving(SiteServer(site))


@contextmanager
def on_any_server(folder):
    """Serve a folder as any simple server does: not isolated, no headers of ours."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def opened(chromium, site, page="", *, before="", **options):
    """Open a page, which must ask for nothing but its own folder, once a script has run."""
    with watched(chromium, site.url, f"blob:{site.url}", **options) as tab:
        if before:
            tab.add_init_script(before)
        tab.goto(site.url + page)
        tab.wait_for_selector(":root.ready")
        yield tab
