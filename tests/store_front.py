"""A door in front of an S3 server on 127.0.0.1, which notes what is asked for and makes faults."""

import http.client
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_HOP = ("connection", "transfer-encoding", "content-length", "date", "server")


@dataclass
class Trouble:
    """What goes wrong with requests of a method whose path holds a text, so many times."""

    path: str
    status: int | None = None
    code: str = "SlowDown"
    cut: float | None = None
    """Close the connection after this share of the body."""
    times: int = 1
    method: str = "GET"


class Door:
    """Passes requests on to the server at a port."""

    def __init__(self, port):
        self.asked = []
        self.troubles = []
        door = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def pass_on(self):
                door.asked.append((self.command, self.path))
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                trouble = door.trouble(self.command, self.path)
                if trouble is not None and trouble.status is not None:
                    said = f"<Error><Code>{trouble.code}</Code><Message>{trouble.code}</Message>"
                    self.answer(trouble.status, {}, f"{said}</Error>".encode())
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                upstream.request(self.command, self.path, sent, dict(self.headers))
                answer = upstream.getresponse()
                body = answer.read()
                headers = {k: v for k, v in answer.getheaders() if k.lower() not in _HOP}
                if self.command == "HEAD":
                    headers["Content-Length"] = answer.getheader("Content-Length", "0")
                upstream.close()
                self.answer(answer.status, headers, body, trouble and trouble.cut)

            def answer(self, status, headers, body, cut=None):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if cut is None else body[: int(cut * len(body))])
                if cut is not None:
                    self.close_connection = True

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def trouble(self, method, path):
        for trouble in self.troubles:
            if trouble.method == method and trouble.path in path and trouble.times > 0:
                trouble.times -= 1
                return trouble
        return None

    def close(self):
        self._server.shutdown()
        self._server.server_close()
