"""What players get that speak OpenSubsonic, by a client made from its public description."""

import hashlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
from contextlib import closing, suppress
from unicodedata import normalize
from urllib.request import urlopen
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import ROOT
from helpers_pages import port_of, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musicnn_zoo import Library
from musicnn_zoo.cli import cli
from musicnn_zoo.errors import ArgumentError, AudioError
from musicnn_zoo.library import subsonic, subsonic_server
from musicnn_zoo.library.indexing import unit_vector
from musicnn_zoo.library.library_file import LibraryFile
from musicnn_zoo.library.subsonic import Access, OpenSubsonic
from musicnn_zoo.library.subsonic_server import SubsonicServer

pytestmark = pytest.mark.light

COUNT = 60
HOSTILE = "<b>\x01\x1b[31m\"'&\u2028 Ünïcode"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
USER, PASSWORD, KEY = "joe", "sésame & <sesame>", "0123456789abcdef" * 4
XMLNS = "{http://subsonic.org/restapi}"


def digest_of(number):
    return hashlib.sha256(str(number).encode()).hexdigest()


def path_of(number):
    return f"/music/{'abc'[number % 3]}/{number:02}.flac"


def add_song(library, number, vector, **titles):
    """Write a song as index does; no file is there."""
    (analysis,) = library.analyses()
    (space,) = library.spaces(analysis) or (library.make_space(analysis, "penultimate", 8),)
    sound = library.put_sound(
        digest_of(number), 100.0 + number, analysis, (0.5, 0.5), {space.id: unit_vector(vector)}
    )
    words = {"title": f"Song {number}", "artist": f"Band{number % 7}X", "album": "Album"}
    library.put_file(path_of(number), 1000 + number, 1, sound=sound, **{**words, **titles})


@pytest.fixture
def place(tmp_path):
    """A library of sounds that are points, in an order that is none."""
    vectors = np.random.default_rng(0).normal(size=(COUNT, 8)) + 2 * np.eye(8)[0]
    path = tmp_path / "library.sqlite"
    with LibraryFile(path, write=True) as library:
        library.make_analysis(model="m", place="m", weights="w", settings={}, tags=("low", "high"))
        library.remember_folders({"/music": ((), (), False), "/music/a": ((), (), False)})
        for number, vector in enumerate(vectors):
            add_song(library, number, vector)
        add_song(library, 7, vectors[7], title=HOSTILE, artist="", genre="Techno")
        add_song(library, 8, vectors[8], title="", artist="", album="")
        library.change("UPDATE files SET state = 'gone' WHERE path = ?", (path_of(9),))
    return path


def serving_library(place, **access):
    return serving(SubsonicServer(OpenSubsonic(place, access=Access(**access)), port=0))


@pytest.fixture
def server(place):
    with serving_library(place) as server:
        yield server


def send(server, method, place, body=None, **headers):
    with closing(
        http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=30)
    ) as connection:
        connection.request(method, place, body, headers)
        answer = connection.getresponse()
        return answer, answer.read().decode()


class Refused(Exception):  # noqa: N818
    def __init__(self, error):
        super().__init__(error)
        self.code = int(error["code"])


class Client:
    """Asks as the description says: with u, p or t and s, v, c and f, or with a key."""

    def __init__(self, server, *, user=None, password=None, key=None, form="json", post=False):
        self.server, self.form, self.post = server, form, post
        self.user, self.password, self.key = user, password, key

    def credentials(self):
        if self.key is not None:
            return {"apiKey": self.key}
        if self.password is None:
            return {}
        salt = secrets.token_hex(8)
        token = hashlib.md5((self.password + salt).encode()).hexdigest()
        return {"u": self.user, "t": token, "s": salt}

    def ask(self, method, **parameters):
        everything = {
            "v": "1.16.1", "c": "test", "f": self.form, **self.credentials(), **parameters,
        }  # fmt: skip
        query = urllib.parse.urlencode(everything, doseq=True)
        if self.post:
            answer, text = send(self.server, "POST", f"/rest/{method}", query, **FORM)
        else:
            answer, text = send(self.server, "GET", f"/rest/{method}.view?{query}")
        assert answer.status == 200
        if self.form == "json":
            assert answer.headers["Content-Type"].startswith("application/json")
        return self.read(text)

    def read(self, text):
        whole = as_tree(text, self.form)
        assert whole["version"] == "1.16.1"
        assert whole["type"] == "musicnn-zoo"
        assert whole["serverVersion"]
        assert whole["openSubsonic"] in (True, "true")
        if whole["status"] == "failed":
            raise Refused(whole["error"])
        assert whole["status"] == "ok"
        return whole


def as_tree(text, form):
    if form == "json":
        return json.loads(text)["subsonic-response"]
    root = ElementTree.fromstring(text)
    assert root.tag == f"{XMLNS}subsonic-response"
    return _tree_of(root)


def _tree_of(element):
    tree = dict(element.attrib)
    for child in element:
        name = child.tag.removeprefix(XMLNS)
        value = _tree_of(child) or child.text
        tree[name] = (
            value
            if name in ("song", "error", "license") and name not in tree
            else [
                *([tree[name]] if isinstance(tree.get(name), dict) else tree.get(name, [])),
                value,
            ]
        )
    return tree


def cosines_to(place, number):
    """Cosines of all sounds with one, of present files, by SQLite and NumPy alone."""
    with closing(sqlite3.connect(place)) as connection:
        rows = connection.execute(
            "SELECT f.path, v.vector FROM files f JOIN vectors_1 v ON v.sound = f.sound "
            "WHERE f.state = 'present'"
        ).fetchall()
    vectors = {path: np.frombuffer(vector, "<f2").astype(float) for path, vector in rows}
    vectors = {path: vector / np.linalg.norm(vector) for path, vector in vectors.items()}
    seed = vectors[path_of(number)]
    return {path: float(vector @ seed) for path, vector in vectors.items()}


@pytest.mark.parametrize("form", ["json", "xml"])
@pytest.mark.parametrize("post", [False, True])
def test_similar_songs_are_those_of_the_library(server, place, form, post):
    client = Client(server, form=form, post=post)
    found = client.ask("getSonicSimilarTracks", id=digest_of(3), count=12)["sonicMatch"]
    entries = [match["entry"] if form == "json" else match["entry"][0] for match in found]
    similarities = [float(match["similarity"]) for match in found]
    cosines = cosines_to(place, 3)
    del cosines[path_of(3)]
    nearest = sorted(cosines, key=lambda path: -cosines[path])[:12]
    assert [f"/music/{_below(entry)}" for entry in entries] == nearest
    assert similarities == pytest.approx([cosines[path] for path in nearest], abs=1e-3)
    library = Library(place).similar(path_of(3), k=12, distinct=True)
    assert [f"/music/{_below(entry)}" for entry in entries] == list(library.paths)
    assert len(client.ask("getSonicSimilarTracks", id=digest_of(3))["sonicMatch"]) == 10


def _below(entry):
    """Path below /music; that of a song in /music/a is below the nearer folder."""
    path = entry["path"]
    return path if "/" in path else f"a/{path}"


def test_the_entries_are_as_the_api_describes_them(server):
    song = Client(server).ask("getSong", id=digest_of(7))["song"]
    assert song == {
        "id": digest_of(7), "isDir": False, "title": HOSTILE, "album": "Album", "genre": "Techno",
        "size": 1007, "contentType": "audio/flac", "suffix": "flac", "duration": 107,
        "path": "b/07.flac", "isVideo": False, "type": "music", "mediaType": "song",
    }  # fmt: skip
    in_xml = Client(server, form="xml").ask("getSong", id=digest_of(7))["song"]
    assert in_xml["title"] == HOSTILE.replace("\x01", "\ufffd").replace("\x1b", "\ufffd")
    assert (in_xml["isDir"], in_xml["duration"]) == ("false", "107")
    untitled = Client(server).ask("getSong", id=digest_of(8))["song"]
    assert untitled["title"] == "08"
    assert "artist" not in untitled


def test_the_way_begins_and_ends_with_the_songs_and_is_that_of_the_library(server, place):
    found = Client(server).ask(
        "findSonicPath", startSongId=digest_of(3), endSongId=digest_of(11), count=9
    )["sonicMatch"]
    ids = [match["entry"]["id"] for match in found]
    assert (ids[0], ids[-1]) == (digest_of(3), digest_of(11))
    assert len(set(ids)) == len(ids) <= 9
    from_start, to_end = cosines_to(place, 3), cosines_to(place, 11)
    paths = [f"/music/{_below(match['entry'])}" for match in found]
    assert paths == list(Library(place).playlist(path_of(3), path_of(11), n=9).paths)
    similarities = [match["similarity"] for match in found]
    expected = [max(0, from_start[path]) for path in paths]
    assert similarities == pytest.approx(expected, abs=1e-3)
    steps = [to_end[path] - from_start[path] for path in paths]
    assert steps == sorted(steps)
    same = {"startSongId": digest_of(3), "endSongId": digest_of(3), "count": 4}
    match = Client(server).ask("findSonicPath", **same)["sonicMatch"]
    assert {match[0]["entry"]["id"], match[-1]["entry"]["id"]} == {digest_of(3)}


@pytest.mark.parametrize("method", ["getSimilarSongs", "getSimilarSongs2"])
def test_older_calls_give_the_same_songs(server, method):
    client = Client(server)
    songs = client.ask(method, id=digest_of(5))[method[3].lower() + method[4:]]["song"]
    matches = client.ask("getSonicSimilarTracks", id=digest_of(5), count=50)["sonicMatch"]
    assert songs == [match["entry"] for match in matches]


@pytest.mark.parametrize(
    ("asked", "number"),
    [
        (digest_of(4), 4),
        ("/music/b/04.flac", 4),
        ("b/04.flac", 4),
        ("06.flac", 6),  # below the folder /music/a
    ],
)
def test_songs_are_found_by_id_and_by_path(server, asked, number):
    assert Client(server).ask("getSong", id=asked)["song"]["id"] == digest_of(number)


@pytest.mark.parametrize(
    "asked",
    [digest_of(9), path_of(9), digest_of(999), "", "b", "../music/b/04.flac", "/etc/passwd", "%"],
)
def test_what_is_not_in_the_library_is_not_found(server, asked):
    with pytest.raises(Refused) as refused:
        Client(server).ask("getSonicSimilarTracks", id=asked)
    assert refused.value.code == 70


def test_songs_are_searched_by_all_words_and_page_by_page(server):
    client = Client(server)

    def found(query, **more):
        return client.ask("search3", query=query, **more)["searchResult3"]["song"]

    everything = found("", songCount=500)
    assert len(everything) == COUNT - 1
    assert everything == found('""', songCount=30) + found("", songCount=500, songOffset=30)
    assert len(found("")) == 20
    assert {song["artist"] for song in found("BAND3x song")} == {"Band3X"}
    for form in ("NFC", "NFD"):
        assert [song["id"] for song in found(normalize(form, "ÜNÏCODE"))] == [digest_of(7)]
    assert [song["id"] for song in found("08.flac")] == [digest_of(8)]
    assert found("100%") == found("no such") == []


def test_the_library_is_that_of_the_moment(server, place):
    client = Client(server)
    before = client.ask("getSonicSimilarTracks", id=digest_of(3), count=1)["sonicMatch"]
    with LibraryFile(place, write=True) as library:
        vector = library.value("SELECT vector FROM vectors_1 WHERE sound = 4")
        add_song(library, 100, np.frombuffer(vector, "<f2").astype(float) + 0.001)
    after = client.ask("getSonicSimilarTracks", id=digest_of(3), count=1)["sonicMatch"]
    assert before[0]["entry"]["id"] != digest_of(100) == after[0]["entry"]["id"]
    place.rename(place.with_suffix(".old"))
    with pytest.raises(Refused) as refused:
        client.ask("search3", query="")
    assert refused.value.code == 0
    place.write_bytes(b"no database, but as long as one" * 1000)
    with pytest.raises(Refused):
        client.ask("search3", query="")


def test_recordings_that_are_there_twice_come_once(server, place):
    with LibraryFile(place, write=True) as library:
        vector = library.value("SELECT vector FROM vectors_1 WHERE sound = 4")
        for number in (100, 101):
            add_song(library, number, np.frombuffer(vector, "<f2").astype(float))
        library.change("UPDATE sounds SET duration_s = 103 WHERE id > ?", (COUNT,))
    found = Client(server).ask("getSonicSimilarTracks", id=digest_of(3), count=60)["sonicMatch"]
    assert not {digest_of(100), digest_of(101)} & {match["entry"]["id"] for match in found}


def test_what_is_said_of_the_server(server):
    client = Client(server)
    assert client.ask("ping")
    assert client.ask("getLicense")["license"] == {"valid": True}
    assert Client(server, form="xml").ask("getLicense")["license"] == {"valid": "true"}
    extensions = client.ask("getOpenSubsonicExtensions")["openSubsonicExtensions"]
    assert {each["name"]: each["versions"] for each in extensions} == {
        "sonicSimilarity": [1], "formPost": [1],
    }  # fmt: skip
    xml = Client(server, form="xml").ask("getOpenSubsonicExtensions")["openSubsonicExtensions"]
    assert xml[0] == {"name": "sonicSimilarity", "versions": ["1"]}


def test_it_asks_as_navidromes_example_does(server):
    asked = f"u=admin&p=any&v=1.16.1&c=test&f=json&id={digest_of(3)}&count=5"
    answer, text = send(server, "GET", f"/rest/getSonicSimilarTracks.view?{asked}")
    whole = json.loads(text)["subsonic-response"]
    assert (answer.status, whole["status"], len(whole["sonicMatch"])) == (200, "ok", 5)
    assert set(whole["sonicMatch"][0]) == {"entry", "similarity"}
    similarities = [match["similarity"] for match in whole["sonicMatch"]]
    assert similarities == sorted(similarities, reverse=True)
    assert all(0 <= each <= 1 for each in similarities)


# Who may ask


@pytest.fixture
def guarded(place, monkeypatch):
    monkeypatch.setattr(subsonic_server, "_WRONG_S", 0)
    with serving_library(place, user=USER, password=PASSWORD, api_key=KEY) as server:
        yield server


SALT = "c19b2d"
TOKEN = hashlib.md5((PASSWORD + SALT).encode()).hexdigest()


@pytest.mark.parametrize(
    ("credentials", "code"),
    [
        ({"u": USER, "p": PASSWORD}, None),
        ({"u": USER, "p": "enc:" + PASSWORD.encode().hex()}, None),
        ({"u": USER, "p": "enc:" + PASSWORD.encode("latin-1").hex()}, None),
        ({"u": USER, "t": TOKEN, "s": SALT}, None),
        ({"u": USER, "t": TOKEN.upper(), "s": SALT}, None),
        ({"apiKey": KEY}, None),
        ({}, 10),
        ({"p": PASSWORD}, 10),
        ({"u": USER}, 10),
        ({"u": USER, "t": TOKEN}, 10),
        ({"u": USER, "s": SALT}, 10),
        ({"u": USER, "p": "wrong"}, 40),
        ({"u": "jane", "p": PASSWORD}, 40),
        ({"u": "", "p": ""}, 40),
        ({"u": USER, "p": "enc:zz"}, 40),
        ({"u": USER, "p": "enc:ff"}, 40),
        ({"u": USER, "p": PASSWORD.encode().hex()}, 40),
        ({"u": USER, "t": TOKEN, "s": SALT + "x"}, 40),
        ({"u": USER, "t": "", "s": ""}, 40),
        ({"u": USER, "p": PASSWORD, "t": TOKEN, "s": SALT}, 43),
        ({"u": USER, "apiKey": KEY}, 43),
        ({"apiKey": KEY, "p": PASSWORD}, 43),
        ({"apiKey": KEY[:-1]}, 44),
        ({"apiKey": ""}, 44),
    ],
)
def test_only_who_knows_the_password_or_the_key_may_ask(guarded, credentials, code):
    client = Client(guarded)
    for method in ("ping", "search3"):
        if code is None:
            assert client.ask(method, query="", **credentials)
        else:
            with pytest.raises(Refused) as refused:
                client.ask(method, query="", **credentials)
            assert refused.value.code == code
    assert client.ask("getOpenSubsonicExtensions", **credentials)


def test_a_client_with_a_password_or_a_key_gets_what_it_asks_for(guarded):
    for client in (
        Client(guarded, user=USER, password=PASSWORD),
        Client(guarded, user=USER, password=PASSWORD, form="xml", post=True),
        Client(guarded, key=KEY),
    ):
        assert client.ask("getSonicSimilarTracks", id=digest_of(3))["sonicMatch"]
    assert client.ask("tokenInfo")["tokenInfo"] == {"username": USER}
    names = [
        each["name"] for each in client.ask("getOpenSubsonicExtensions")["openSubsonicExtensions"]
    ]
    assert "apiKeyAuthentication" in names


@pytest.mark.parametrize(
    ("access", "credentials", "code"),
    [
        ({"password": PASSWORD, "user": USER}, {"apiKey": KEY}, 42),
        ({"api_key": KEY}, {"u": USER, "p": PASSWORD}, 42),
        ({"api_key": KEY}, {"u": USER, "t": TOKEN, "s": SALT}, 41),
    ],
)
def test_ways_to_ask_that_are_not_set_up_are_said_to_be(place, access, credentials, code):
    with serving_library(place, **access) as server, pytest.raises(Refused) as refused:
        Client(server).ask("ping", **credentials)
    assert refused.value.code == code


def test_a_wrong_password_is_answered_late(place):
    with serving_library(place, password=PASSWORD) as server:
        begun = time.monotonic()
        with pytest.raises(Refused):
            Client(server).ask("ping", u="music", p="wrong")
        assert time.monotonic() - begun >= subsonic_server._WRONG_S


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"v": "0.9.0"}, 20),
        ({"v": "1.17.0"}, 30),
        ({"v": "2.0.0"}, 30),
        ({"v": "1.8.0"}, None),
        ({"v": "one"}, 0),
    ],
)
def test_versions_that_do_not_fit_are_named(server, parameters, code):
    if code is None:
        assert Client(server).ask("ping", **parameters)
        return
    with pytest.raises(Refused) as refused:
        Client(server).ask("ping", **parameters)
    assert refused.value.code == code


@pytest.mark.parametrize("lacking", ["v", "c"])
def test_what_every_request_needs_is_asked_for(server, lacking):
    query = urllib.parse.urlencode({"v": "1.16.1", "c": "x", "f": "json"} | {lacking: ""})
    query = re.sub(rf"\b{lacking}=&?", "", query)
    whole = as_tree(send(server, "GET", f"/rest/ping?{query}")[1], "json")
    assert (whole["status"], whole["error"]["code"]) == ("failed", 10)


@pytest.mark.parametrize(
    ("method", "parameters", "code"),
    [
        ("getSong", {}, 10),
        ("getSonicSimilarTracks", {}, 10),
        ("findSonicPath", {"startSongId": digest_of(3)}, 10),
        ("search3", {}, 10),
        ("getSonicSimilarTracks", {"id": digest_of(3), "count": "many"}, 0),
        ("getSonicSimilarTracks", {"id": digest_of(3), "count": "-1"}, 0),
        ("getSonicSimilarTracks", {"id": digest_of(3), "count": "9" * 4000}, 0),
        ("findSonicPath", {"startSongId": digest_of(3), "endSongId": digest_of(4), "count": 1}, 0),
        ("search3", {"query": "", "songOffset": "1.5"}, 0),
        ("stream", {"id": digest_of(3)}, 0),
        ("getSong", {"id": "x" * 5000}, 0),
        ("getSong", {"id": [digest_of(3), digest_of(4)]}, 0),
        ("ping", {"f": "yaml"}, None),
    ],
)
def test_wrong_parameters_are_named(server, method, parameters, code):
    form = "xml" if "f" in parameters else "json"
    with pytest.raises(Refused) as refused:
        Client(server, form=form).ask(method, **parameters)
    assert refused.value.code == (code or 0)


# Limits


def test_counts_are_limited(server, monkeypatch):
    monkeypatch.setattr(subsonic, "LONGEST_WAY", 5)
    client = Client(server)
    assert client.ask("getSonicSimilarTracks", id=digest_of(3), count=0)["sonicMatch"] == []
    many = client.ask("getSonicSimilarTracks", id=digest_of(3), count=10**9)["sonicMatch"]
    assert len(many) == COUNT - 2
    ends = {"startSongId": digest_of(3), "endSongId": digest_of(4)}
    assert len(client.ask("findSonicPath", **ends, count=99)["sonicMatch"]) <= 5
    assert len(client.ask("search3", query="", songCount=10**9)["searchResult3"]["song"]) < 501


def test_no_more_is_computed_at_once_than_can_be(server, monkeypatch):
    monkeypatch.setattr(subsonic, "_PATIENCE_S", 0.1)
    begun, end = threading.Semaphore(0), threading.Event()

    def slow(api, request):
        begun.release()
        end.wait(20)
        return {}

    monkeypatch.setitem(subsonic._METHODS, "getSong", slow)
    threads = [threading.Thread(target=Client(server).ask, args=("getSong",)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert begun.acquire(timeout=20)
    with pytest.raises(Refused, match="ask again"):
        Client(server).ask("search3", query="")
    assert Client(server).ask("ping")
    end.set()
    for thread in threads:
        thread.join(20)
    assert Client(server).ask("search3", query="")


@pytest.mark.parametrize(
    ("method", "place", "body", "headers", "status"),
    [
        ("GET", "/", None, {}, 404),
        ("GET", "/rest/", None, {}, 404),
        ("GET", "/rest/../../etc/passwd", None, {}, 404),
        ("GET", "/rest/ping/x", None, {}, 404),
        ("GET", "/rest/ping?" + "a" * 20_000, None, {}, 414),
        ("GET", "/rest/ping?" + "a" * 70_000, None, {}, 414),
        ("GET", "/rest/ping?" + "a=b&" * 65, None, {}, 200),
        ("GET", "/rest/ping?c=" + "x" * 5000, None, {}, 200),
        ("GET", "/rest/ping?c=%ff%fe&v=1.16.1", None, {}, 200),
        ("GET", "/rest/ping?c=a&c=b&v=1.16.1", None, {}, 200),
        ("GET", "/rest/ping?v=1.16.1&c=a", None, {"Host": "evil.example"}, 403),
        ("POST", "/rest/ping", "a" * 70_000, FORM, 413),
        ("POST", "/rest/ping", "a" * 2_000_000, FORM, 413),
        ("POST", "/rest/ping", "{}", {"Content-Type": "application/json"}, 415),
        ("POST", "/rest/ping", b"3\r\nc=a\r\n0\r\n\r\n", {"Transfer-Encoding": "chunked"}, 411),
        ("POST", "/rest/ping", None, {"Content-Length": "-1"}, 411),
        ("PUT", "/rest/ping", None, {}, 501),
        ("DELETE", "/rest/ping", None, {}, 501),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_as_the_api_does(
    server, method, place, body, headers, status
):
    answer, text = send(server, method, place, body, **headers)
    assert answer.status == status
    whole = as_tree(text, "xml")
    assert whole["status"] == "failed"
    assert Client(server).ask("ping")


def test_a_request_that_comes_byte_by_byte_is_hung_up_on(server, monkeypatch):
    monkeypatch.setattr(subsonic_server._Handler, "timeout", 0.5)
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=20) as slow:
        begun = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - begun < 20:
                slow.sendall(b"G")
                time.sleep(0.05)
        assert time.monotonic() - begun < 10


def test_pages_of_other_sites_read_nothing_that_needs_no_password(server, place):
    query = "f=jsonp&callback=a.b&v=1.16.1&c=x"
    answer, text = send(server, "GET", f"/rest/ping?{query}")
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert text.startswith("a.b({") and '"failed"' in text  # noqa: PT018
    with serving_library(place, user=USER, password=PASSWORD) as guarded:
        credentials = urllib.parse.urlencode({"u": USER, "p": PASSWORD})
        answer, text = send(guarded, "GET", f"/rest/ping?{query}&{credentials}")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Content-Type"].startswith("application/javascript")
        found = re.fullmatch(r"a\.b\((.*)\);", text)
        assert json.loads(found[1])["subsonic-response"]["status"] == "ok"
        for callback in ("", "alert(1)", "a b", "x" * 200, "é"):
            query = urllib.parse.urlencode({"f": "jsonp", "callback": callback, "c": "x"})
            assert as_tree(send(guarded, "GET", f"/rest/ping?{query}")[1], "xml")["error"]


NAMES = (
    "id", "count", "startSongId", "endSongId", "query", "songCount", "songOffset", "v", "f",
    "callback", "u", "p", "apiKey",
)  # fmt: skip
VALUES = st.one_of(
    st.text(max_size=40),
    st.integers().map(str),
    st.sampled_from(["json", "xml", "jsonp", "1.16.1"]),
    st.integers(0, 70).map(digest_of),
    st.integers(0, 70).map(path_of),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    method=st.sampled_from([*subsonic._METHODS, "ping", "tokenInfo", "x"]),
    parameters=st.dictionaries(st.sampled_from(NAMES), VALUES),
    post=st.booleans(),
)  # fmt: skip
def test_whatever_is_asked_is_answered_by_the_api(server, caplog, method, parameters, post):
    everything = {"v": "1.16.1", "c": "x", **parameters}
    query = urllib.parse.urlencode(everything, errors="surrogatepass")
    if post:
        answer, text = send(server, "POST", f"/rest/{method}", query, **FORM)
    else:
        answer, text = send(server, "GET", f"/rest/{method}?{query}")
    assert answer.status in (200, 413, 414)
    if text.startswith("{"):
        whole = json.loads(text)["subsonic-response"]
    elif text.startswith("<"):
        whole = as_tree(text, "xml")
    else:
        whole = json.loads(text[text.index("(") + 1 : -2])["subsonic-response"]
    assert whole["status"] in ("ok", "failed")
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sent=st.one_of(
        st.binary(min_size=1, max_size=300),
        st.builds(
            lambda line, head: line + b" HTTP/1.1\r\n" + head + b"\r\n\r\n",
            st.binary(max_size=60),
            st.binary(max_size=100),
        ),
        st.binary(max_size=200).map(
            lambda query: (
                b"GET /rest/search3?v=1.16.1&c=x&query=" + query + b" HTTP/1.0\r\n"
                b"Host: localhost\r\n\r\n"
            )
        ),
    )
)
def test_bytes_that_are_no_request_get_an_answer_of_the_api_or_none(server, caplog, sent):
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except ConnectionError:
            pass
    for body in re.findall(rb"<\?xml.*?</subsonic-response>", received, re.DOTALL):
        assert as_tree(body.decode(), "xml")["status"] in ("ok", "failed")
    assert b"Traceback" not in received
    assert b"<html" not in received.lower()
    assert b" 500 " not in received
    assert not [record for record in caplog.records if record.levelname != "DEBUG"]


def test_errors_that_nobody_thought_of_are_a_line_for_the_one_and_an_answer_for_the_other(
    server, monkeypatch, caplog
):
    def fail(api, request):
        raise ZeroDivisionError("a\nb")

    monkeypatch.setitem(subsonic._METHODS, "getSong", fail)
    with pytest.raises(Refused) as refused:
        Client(server).ask("getSong")
    assert refused.value.code == 0
    assert "ZeroDivisionError" not in str(refused.value)
    (warned,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warned.getMessage() == "getSong failed (ZeroDivisionError: a)"


def test_passwords_are_not_logged(guarded, caplog):
    caplog.set_level("DEBUG")
    with pytest.raises(Refused):
        Client(guarded).ask("ping", u=USER, p="secret-word")
    send(guarded, "GET", "/rest/x?p=secret-word")
    send(guarded, "BREW", "/rest/x?p=secret-word")
    assert "/rest/ping.view?…" in caplog.text
    assert "secret-word" not in caplog.text


# The library as it was indexed, and the command


def test_a_library_as_it_was_indexed_looks_at_no_file(place, tmp_path):
    changed = tmp_path / "changed.flac"
    changed.write_bytes(b"now something else")
    with LibraryFile(place, write=True) as library:
        library.change("UPDATE files SET path = ? WHERE path = ?", (str(changed), path_of(3)))
    library = Library(place, as_indexed=True)
    assert len(library.similar(changed, k=5)) == 5
    with pytest.raises(AudioError, match="in the library"):
        library.similar(tmp_path / "library.sqlite")
    with pytest.raises((ArgumentError, AudioError)):
        Library(place).similar(changed)


@pytest.fixture
def run(place, monkeypatch):
    """Run the command, which serves until nobody knows when."""
    served = []
    monkeypatch.setattr(SubsonicServer, "serve", lambda server: served.append(server))
    for name in ("USER", "PASSWORD", "API_KEY"):
        monkeypatch.delenv(f"MUSICNN_ZOO_{name}", raising=False)

    def run(*options, **environment):
        served.clear()
        arguments = ["serve", "--library", str(place), "--port", "0", *map(str, options)]
        result = CliRunner().invoke(cli, arguments, env=environment)
        bound = served[0]._server.server_address[0] if served else None
        return result, bound, served[0]._server.RequestHandlerClass.api.access if served else None

    return run


def test_the_command_listens_on_this_machine_alone_unless_asked(run):
    result, bound, access = run()
    assert (result.exit_code, bound, access.is_open) == (0, "127.0.0.1", True)
    assert re.match(r"http://127\.0\.0\.1:\d+/  59 songs by m; Ctrl\+C ends it\n", result.output)
    assert "Warning" not in result.output
    result, bound, _ = run("--address", "0.0.0.0")
    assert bound == "0.0.0.0"
    assert "Warning: no password is set: whoever reaches 0.0.0.0 can read" in result.output
    result, bound, _ = run("--address", "0.0.0.0", MUSICNN_ZOO_PASSWORD="x")
    assert "Warning" not in result.output
    assert run("--address", "::1")[0].output.startswith("http://[::1]:")


def test_secrets_come_from_files_or_the_environment(run, tmp_path):
    file = tmp_path / "password"
    file.write_text("sésame \nsecond line\n", encoding="utf-8")
    file.chmod(0o600)
    result, _, access = run("--password-file", file, MUSICNN_ZOO_PASSWORD="other")
    assert (access.user, access.password, access.api_key) == ("music", "sésame ", None)
    assert "Warning" not in result.output
    file.chmod(0o644)
    result, _, access = run("--api-key-file", file, MUSICNN_ZOO_USER="joe")
    assert (access.user, access.password, access.api_key) == ("joe", None, "sésame ")
    assert "others can read it" in result.output
    _, _, access = run("--user", "ann", MUSICNN_ZOO_PASSWORD="p", MUSICNN_ZOO_API_KEY="k")
    assert (access.user, access.password, access.api_key) == ("ann", "p", "k")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--password-file", "missing"], "missing: cannot be read"),
        (["--address", "no.such.place.invalid"], "cannot be used"),
        (["--address", ""], "an address must not be empty"),
        (["--address", "192.0.2.1"], "address 192.0.2.1, port 0 cannot be used"),
        (["--model", "other"], "unknown model of this library 'other'"),
        (["--layer", "other"], "no vectors of layer 'other'"),
        (["--library", "missing.sqlite"], "missing.sqlite"),
        (["--password", "secret"], "No such option"),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(run, options, said):
    result, _, _ = run(*options)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_an_empty_password_is_no_password(run, tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("\n")
    empty.chmod(0o600)
    for result, _, _ in (run("--password-file", empty), run(MUSICNN_ZOO_PASSWORD="")):
        assert result.exit_code == 2
        assert "must hold 1 to 4096 characters; received 0" in result.output


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("end", "asked"), [(signal.SIGINT, True), (signal.SIGTERM, True), (signal.SIGTERM, False)]
)
def test_it_ends_quietly_when_it_is_told_to(place, end, asked):
    command = [sys.executable, "-m", "musicnn_zoo", "serve", "--library", place, "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # A shell that starts tests in the background has them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:  # fmt: skip
        url = running.stdout.readline().split()[0]
        if asked:
            with urlopen(f"{url}rest/ping?v=1.16.1&c=test") as answer:
                assert b'status="ok"' in answer.read()
        running.send_signal(end)
        try:
            rest, errors = running.communicate(timeout=20)
        finally:
            running.kill()
    assert (running.returncode, rest, errors) == (0, "", "")
