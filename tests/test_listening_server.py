"""The server of listening pages: what it gives, and what it does not."""

import http.client
import http.server
import io
import os
import re
import shutil
import socket
import struct
import threading
import time
from contextlib import ExitStack, suppress

import numpy as np
import pytest
import soundfile
from helpers_audio import HARPSICHORD, TECHNO, chirps, encode
from helpers_pages import ask, port_of, serving_pages

from musicnn_zoo import ArgumentError, Tagger, listening_page
from musicnn_zoo.listening import server as server_module
from musicnn_zoo.listening.server import PageServer
from musicnn_zoo.machine import web_server
from musicnn_zoo.sound.read import load_audio
from musicnn_zoo.web import loopback

HOSTILE = "<img src=x onerror=alert(1)>.ogg"


@pytest.fixture(scope="module")
def tagger():
    return Tagger("MTT_vgg")


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
    with serving_pages(paths, lambda path: listening_page(path, models=tagger)) as server:
        yield server


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


def test_a_page_leads_on_and_the_list_has_its_tags(server) -> None:
    _, page = ask(server, "/page/1")
    assert re.findall(rb'rel="(prev|up|next)" href="([^"]*)"', page) == [
        (b"prev", b"/page/0"), (b"up", b"/"), (b"next", b"/page/2"),
    ]  # fmt: skip
    _, content = ask(server, "/")
    (item,) = re.findall(r"<li>(?:(?!<li>).)*b\.wma.*?</li>", content.decode(), flags=re.DOTALL)
    assert len(re.findall(r'<button type="button" value="[^"]+">', item)) == 5
    assert "Tags of MTT_vgg." in content.decode()


def test_the_list_fills_with_tags_of_files_that_nobody_opened(tagger, tmp_path) -> None:
    paths = [shutil.copy(TECHNO, tmp_path / name) for name in ("a.ogg", "b.ogg")]
    (tmp_path / "broken.mp3").write_bytes(b"nothing")
    paths.append(tmp_path / "broken.mp3")

    def tag_files(paths):
        return tagger.tag_files(paths, jobs=1)

    with serving_pages(
        paths, lambda path: listening_page(path, models=tagger), tag_files=tag_files
    ) as server:
        for _ in range(100):
            _, content = ask(server, "/")
            if content.count(b'value="techno"') == 2 and b"reload for more" not in content:
                break
            time.sleep(0.1)
        else:
            raise AssertionError(content)


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
        f"bytes={'9' * 4400}-",
        f"bytes=0-{'9' * 4400}",
        f"bytes=-{'9' * 4400}",
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


@pytest.mark.parametrize(("method", "place"), [("GET", "/audio/0"), ("POST", "/"), ("GET", "/x")])
def test_no_site_may_take_it_in_nor_learn_the_version_of_python(server, method, place) -> None:
    answer, _ = ask(server, place, method=method)
    assert answer.headers["Server"] == "musicnn-zoo"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_parts_of_a_file_that_has_changed_are_not_put_together(tmp_path, tagger) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(100), 16_000)
    with serving_pages([path], lambda _: None) as server:
        version = ask(server, "/audio/0")[0].headers["ETag"]
        wanted = {"Range": "bytes=5-9", "If-Range": version}
        assert ask(server, "/audio/0", **wanted)[0].status == 206
        soundfile.write(path, np.ones(200), 16_000)
        answer, content = ask(server, "/audio/0", **wanted)
        assert (answer.status, content) == (200, path.read_bytes())


def test_pages_are_made_once(tagger) -> None:
    made = []

    def make(path):
        made.append(path)
        return listening_page(path, models=tagger, hop_s=None)

    with serving_pages([TECHNO, HARPSICHORD], make) as server:
        threads = [threading.Thread(target=ask, args=(server, f"/page/{n % 2}")) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(made) == sorted([str(TECHNO), str(HARPSICHORD)])


def test_a_file_that_is_gone_does_not_end_it(tmp_path, tagger) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, np.zeros(48_000), 16_000)
    with serving_pages([path], lambda each: listening_page(each, models=tagger)) as server:
        ask(server, "/audio/0")
        path.unlink()
        assert ask(server, "/audio/0")[0].status == 404
        assert ask(server, "/page/0")[0].status == 422
        assert ask(server, "/")[0].status == 200


def test_a_client_that_goes_away_does_no_harm(server, capfd) -> None:
    port = port_of(server)
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as raw:
            raw.sendall(f"GET /audio/0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            raw.recv(10)
            # The socket is closed by a reset, with the answer unread.
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert ask(server, "/")[0].status == 200
    assert capfd.readouterr() == ("", "")


def test_a_long_page_keeps_no_other_waiting(monkeypatch, tagger) -> None:
    monkeypatch.setattr(server_module, "_PAGE_PATIENCE_S", 0.2)
    may_end, made = threading.Event(), []

    def make(path):
        made.append(path)
        if path == str(TECHNO):
            assert may_end.wait(20)
        return page

    page = listening_page(HARPSICHORD, models=tagger, hop_s=None)
    with serving_pages([TECHNO, HARPSICHORD], make) as server:
        for _ in range(2):
            answer, content = ask(server, "/page/0")
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "5"
            assert b'http-equiv="refresh"' in content
        assert ask(server, "/")[0].status == 200
        assert ask(server, "/audio/0")[0].status == 200
        assert ask(server, "/page/1")[0].status == 200
        may_end.set()
        monkeypatch.setattr(server_module, "_PAGE_PATIENCE_S", 20)
        assert ask(server, "/page/0")[0].status == 200
    assert made == [str(TECHNO), str(HARPSICHORD)]


def test_a_client_that_says_nothing_is_hung_up_on(monkeypatch) -> None:
    monkeypatch.setattr(loopback.LoopbackHandler, "timeout", 0.3)
    with serving_pages([TECHNO], lambda _: None) as server:
        port = port_of(server)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as silent:
            silent.sendall(b"GET / HT")
            assert silent.recv(100) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=20) as deaf:
            asked = f"GET /audio/0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
            deaf.sendall(asked.encode() * 60)
            time.sleep(1)
            got = 0
            with suppress(ConnectionError):
                while part := deaf.recv(2**20):
                    got += len(part)
            assert 0 < got < 60 * TECHNO.stat().st_size


def test_too_many_connections_are_hung_up_on(monkeypatch) -> None:
    monkeypatch.setattr(web_server, "_CONNECTIONS", 2)
    with serving_pages([TECHNO], lambda _: None) as server, ExitStack() as opened:
        port = port_of(server)
        for _ in range(2):
            one = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            one.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            assert one.recv(100).startswith(b"HTTP/1.1 200")
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(server, "/")
        one.close()
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                assert ask(server, "/")[0].status == 200
                break
            except (http.client.HTTPException, ConnectionError):
                time.sleep(0.05)
        else:
            pytest.fail("no room was made")


def test_ctrl_c_while_a_request_is_taken_ends_the_server(monkeypatch) -> None:
    start = threading.Thread.start

    def start_and_be_interrupted(thread) -> None:
        start(thread)
        thread.join()
        raise KeyboardInterrupt

    server = web_server.WebServer("127.0.0.1", 0, http.server.BaseHTTPRequestHandler)
    with server, socket.create_connection(server.server_address, timeout=20) as client:
        client.shutdown(socket.SHUT_WR)
        monkeypatch.setattr(threading.Thread, "start", start_and_be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            server.handle_request()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without links and FIFOs")
def test_what_was_swapped_for_something_else_is_not_given(tmp_path, tagger) -> None:
    secret = tmp_path / "secret.wav"
    soundfile.write(secret, np.zeros(48_000), 16_000)
    music = tmp_path / "music"
    music.mkdir()
    paths = [music / "a.wav", music / "link.wav", music / "album" / "b.wav", music / "c.wav"]
    paths[2].parent.mkdir()
    for path in (paths[0], paths[2], paths[3]):
        shutil.copy(TECHNO, path)
    paths[1].symlink_to(secret)  # a link from the beginning is meant
    with serving_pages(paths, lambda each: listening_page(each, models=tagger)) as server:
        assert ask(server, "/audio/1")[1] == secret.read_bytes()
        for number in (0, 2, 3):
            assert ask(server, f"/audio/{number}")[0].status == 200
        paths[0].unlink()
        paths[0].symlink_to(secret)
        paths[2].parent.rename(tmp_path / "old")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        shutil.copy(secret, elsewhere / "b.wav")
        paths[2].parent.symlink_to(elsewhere)
        paths[3].unlink()
        os.mkfifo(paths[3])
        for number in (0, 2, 3):
            for place in (f"/audio/{number}", f"/page/{number}"):
                answer, content = ask(server, place)
                assert answer.status == 422, place
                assert b"has been replaced since the server started" in content


def test_the_last_step_to_a_file_follows_no_link(tmp_path) -> None:
    (tmp_path / "link").symlink_to(TECHNO)
    (tmp_path / "folder").symlink_to(TECHNO.parent)
    for place in (tmp_path / "link", tmp_path / "folder" / TECHNO.name, tmp_path):
        with pytest.raises(OSError, match=r"symbolic links|has been replaced"):
            loopback._open_unmoved(place)


def test_a_body_is_not_taken_for_a_request(server) -> None:
    port = port_of(server)
    inner = f"GET /audio/0 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    asked = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Length: {len(inner)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall((asked + inner).encode())
        got = b""
        with suppress(ConnectionError):
            while part := raw.recv(65536):
                got += part
    assert got.count(b"HTTP/1.1 200") == 1


def test_a_port_that_is_taken_is_said_to_be(server) -> None:
    port = port_of(server)
    with pytest.raises(ArgumentError, match=rf"port {port} cannot be used .*choose another"):
        PageServer([str(TECHNO)], listening_page, port=port)
