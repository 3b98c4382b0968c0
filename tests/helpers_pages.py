"""Servers of pages, what they answer, and how a browser looks at them."""

import http.client
import threading
from contextlib import contextmanager

from musicnn_zoo.listening.server import PageServer


@contextmanager
def serving(server):
    """Let a server answer from a thread."""
    with server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(10)
            assert not thread.is_alive()


def serving_pages(paths, make_page, **more):
    return serving(PageServer([str(path) for path in paths], make_page, **more))


def port_of(server):
    return int(server.url.rstrip("/").rpartition(":")[2])


def ask(server, place, *, method="GET", host=None, **headers):
    port = port_of(server)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest(method, place, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


@contextmanager
def watched(chromium, *allowed, width=1440, scheme="light", **options):
    """Give a tab that must ask for nothing but what begins so, and complain of nothing."""
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, **options
    )
    tab = context.new_page()
    complaints = []
    tab.on("console", lambda message: complaints.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    tab.on("dialog", lambda dialog: (complaints.append("dialog"), dialog.dismiss()))
    context.on(
        "request",
        lambda request: (
            request.url.startswith((*allowed, "data:,"))
            or complaints.append(f"request: {request.url}")
        ),
    )
    yield tab
    assert complaints == []
    context.close()


def until(tab, expression: str) -> None:
    """Wait until it holds; Playwright's own way needs what the page's policy forbids."""
    for _ in range(1200):
        if tab.evaluate(expression):
            return
        tab.wait_for_timeout(50)
    raise TimeoutError(f"{expression}; {tab.inner_text('main')}")
