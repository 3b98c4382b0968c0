"""A server of listening pages, and what it answers."""

import http.client
import threading
from contextlib import contextmanager

from musicnn_zoo.listening.server import PageServer


@contextmanager
def serving(paths, make_page, **more):
    with PageServer([str(path) for path in paths], make_page, **more) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(10)
            assert not thread.is_alive()


def ask(server, place, *, method="GET", host=None, **headers):
    port = int(server.url.rsplit(":", 1)[1].strip("/"))
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
