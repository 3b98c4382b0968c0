"""The server of listening pages: what it gives, and what it does not."""

import http.client
import io
import re
import shutil
import socket
import struct
import threading
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
from helpers_audio import HARPSICHORD, TECHNO, chirps, encode

from musicnn_zoo import ArgumentError, Tagger, listening_page
from musicnn_zoo.audio import load_audio
from musicnn_zoo.listening.server import PageServer

HOSTILE = "<img src=x onerror=alert(1)>.ogg"


@pytest.fixture(scope="module")
def tagger():
    return Tagger("MTT_vgg")


@contextmanager
def serving(paths, make_page):
    with PageServer([str(path) for path in paths], make_page) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def server(tmp_path_factory, tagger):
    folder = tmp_path_factory.mktemp("music")
    (folder / "album").mkdir()
    paths = [
        shutil.copy(TECHNO, folder / HOSTILE),
        encode(folder / "album" / "b.wma", chirps(4), 44_100, "wmav2"),
        folder / "album" / "broken.mp3",
    ]
    paths[2].write_bytes(b"nothing")
    with serving(paths, lambda path: listening_page(path, models=tagger)) as server:
        yield server


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


def test_it_listens_on_this_machine_alone(server) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", server.url)
    assert server._server.server_address[0] == "127.0.0.1"
    assert server._server.socket.getsockname()[0] == "127.0.0.1"


def test_the_list_names_the_files_and_escapes_them(server) -> None:
    answer, content = ask(server, "/")
    text = content.decode()
    assert answer.status == 200
    assert "&lt;img src=x onerror=alert(1)&gt;.ogg</a>" in text
    assert "<img" not in text
    assert re.findall(r'href="(/page/\d)"', text) == ["/page/0", "/page/1", "/page/2"]
    assert "album/b.wma" in text


def test_a_page_refers_to_the_sound(server) -> None:
    answer, content = ask(server, "/page/0")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'"sound": {"url": "/audio/0"}' in content
    assert len(content) < 100_000


@pytest.mark.platform
def test_the_sound_comes_whole_and_in_parts(server) -> None:
    whole = TECHNO.read_bytes()
    answer, content = ask(server, "/audio/0")
    assert (answer.status, content) == (200, whole)
    assert answer.headers["Content-Type"] == "audio/ogg"
    assert answer.headers["Accept-Ranges"] == "bytes"
    size = len(whole)
    for asked, part in {
        "bytes=0-": (0, size), "bytes=10-19": (10, 20), f"bytes={size - 1}-": (size - 1, size),
        "bytes=-5": (size - 5, size), f"bytes=5-{10 * size}": (5, size),
        f"bytes=-{2 * size}": (0, size),
    }.items():  # fmt: skip
        answer, content = ask(server, "/audio/0", Range=asked)
        assert (answer.status, content) == (206, whole[slice(*part)]), asked
        assert answer.headers["Content-Range"] == f"bytes {part[0]}-{part[1] - 1}/{size}"
    for asked in (
        f"bytes={size}-",
        "bytes=5-3",
        "bytes=-",
        "words=1-2",
        "bytes=0-1,4-5",
        "bytes=-0",
    ):
        answer, content = ask(server, "/audio/0", Range=asked)
        assert (answer.status, content) == (416, b""), asked
        assert answer.headers["Content-Range"] == f"bytes */{size}"


def test_what_browsers_do_not_play_is_converted_once(server) -> None:
    answer, content = ask(server, "/audio/1")
    assert answer.headers["Content-Type"] == "audio/webm"
    assert load_audio(io.BytesIO(content)).duration_s == pytest.approx(4, abs=0.1)
    assert ask(server, "/audio/1", Range="bytes=0-99")[1] == content[:100]


def test_a_broken_file_is_said_to_be(server) -> None:
    answer, content = ask(server, "/page/2")
    assert answer.status == 422
    assert b"broken.mp3: not audio" in content


def test_a_head_has_no_body(server) -> None:
    answer, content = ask(server, "/audio/0", method="HEAD")
    assert content == b""
    assert int(answer.headers["Content-Length"]) == TECHNO.stat().st_size


@pytest.mark.parametrize(
    "place",
    ["/page/3", "/audio/-1", "/audio/0/../1", "/../etc/passwd", "//etc/passwd", "/audio/%30",
     "/page/0?x=1", "/audio/99999999999999999999", "/favicon.ico", "/audio/", "*"],
)  # fmt: skip
def test_nothing_else_can_be_had(server, place: str) -> None:
    answer, content = ask(server, place)
    assert answer.status == 404
    assert b"there is no such page" in content


def test_another_name_for_this_machine_is_refused(server) -> None:
    """Else a site could point its name here and read the files (DNS rebinding)."""
    port = server.url.rsplit(":", 1)[1].strip("/")
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"127.0.0.1:{port}.evil"):
        answer, content = ask(server, "/audio/0", host=host)
        assert answer.status == 403, host
        assert len(content) < 200
    assert ask(server, "/", host=f"localhost:{port}")[0].status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(server, method: str) -> None:
    assert ask(server, "/", method=method)[0].status == 501


def test_what_it_sends_is_not_framed_or_guessed_at(server) -> None:
    answer, _ = ask(server, "/page/0")
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_pages_are_made_once(tagger) -> None:
    made = []

    def make(path):
        made.append(path)
        return listening_page(path, models=tagger, hop_s=None)

    with serving([TECHNO, HARPSICHORD], make) as server:
        threads = [threading.Thread(target=ask, args=(server, f"/page/{n % 2}")) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(made) == sorted([str(TECHNO), str(HARPSICHORD)])


def test_a_file_that_is_gone_does_not_end_it(tmp_path, tagger) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(48_000), 16_000)
    with serving([path], lambda each: listening_page(each, models=tagger)) as server:
        ask(server, "/audio/0")
        path.unlink()
        assert ask(server, "/audio/0")[0].status == 404
        assert ask(server, "/page/0")[0].status == 422
        assert ask(server, "/")[0].status == 200


def test_a_client_that_goes_away_does_no_harm(server, capfd) -> None:
    port = int(server.url.rsplit(":", 1)[1].strip("/"))
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(f"GET /audio/0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            raw.recv(10)
            # The socket is closed by a reset, with the answer unread.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert ask(server, "/")[0].status == 200
    assert capfd.readouterr() == ("", "")


def test_a_port_that_is_taken_is_said_to_be(server) -> None:
    port = int(server.url.rsplit(":", 1)[1].strip("/"))
    with pytest.raises(ArgumentError, match=rf"port {port} cannot be had .*name another"):
        PageServer([str(TECHNO)], listening_page, port=port)
