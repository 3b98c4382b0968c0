"""The command listen."""

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import quote, unquote

import librosa
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from helpers_audio import HARPSICHORD, STRINGS, TECHNO

from musicnn_zoo import Tagger, build_model, save_pretrained
from musicnn_zoo.cli import cli
from musicnn_zoo.cli.listen import LiveView

SCRIPT = shutil.which("musicnn-zoo", path=Path(sys.executable).parent)
HOSTILE = "<img src=x onerror=alert(1)>.wav"


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    """Seven seconds of techno at the model's rate."""
    path = tmp_path_factory.mktemp("audio") / "seven.wav"
    samples, _ = librosa.load(TECHNO, sr=16_000, duration=7)
    soundfile.write(path, samples, 16_000)
    return path


def run(*arguments, **options):
    return CliRunner().invoke(cli, ["listen", *map(str, arguments)], **options)


def test_a_page_is_written_where_one_is(seven, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(seven)
    assert (result.exit_code, result.output) == (0, "seven.html\n")
    text = Path("seven.html").read_text()
    assert "MTT_musicnn: techno" in text
    assert run(seven).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["seven.html"]


def test_several_models_once_each(seven, tmp_path) -> None:
    place = tmp_path / "p.html"
    models = ("-m", "MTT_vgg", "-m", "MSD_vgg", "-m", "MTT_vgg")
    assert run(seven, *models, "-o", place, "--hop", "3").exit_code == 0
    (data,) = re.findall(r'id="data">(.*?)</script>', place.read_text())
    facts = [each["facts"] for each in json.loads(data)["taggrams"]]
    assert [each["model"] for each in facts] == ["MTT_vgg", "MSD_vgg"]
    assert facts[0]["hop_s"] == pytest.approx(3, abs=0.03)


def test_pages_of_a_folder_lie_as_its_files_do(seven, tmp_path) -> None:
    music, pages = tmp_path / "music", tmp_path / "pages"
    for name in ("a.wav", "album/a.wav", "album/b.wav", "album/b.flac", f"album/{HOSTILE}"):
        path = music / name
        path.parent.mkdir(parents=True, exist_ok=True)
        samples, rate = soundfile.read(seven)
        soundfile.write(path, samples, rate)
    (music / "broken.mp3").write_bytes(b"nothing")
    result = run(music, "-o", pages, "--link", "-m", "MTT_vgg")
    written = sorted(str(path.relative_to(pages)) for path in pages.rglob("*.html"))
    assert written == [
        "a.html", f"album/{HOSTILE[:-4]}.html", "album/a.html", "album/b.flac.html",
        "album/b.wav.html", "index.html",
    ]  # fmt: skip
    assert result.stdout.splitlines()[-1] == str(pages / "index.html")
    texts = [(pages / name).read_text() for name in written]
    listed = re.findall(r'<li><a href="([^"]*)".*?value="(\w+)">', texts[-1])
    assert [unquote(href) for href, _ in listed] == written[:-1]
    assert {tag for _, tag in listed} == {"techno"}
    ways = [re.findall(r'rel="(prev|up|next)" href="([^"]*)"', text) for text in texts]
    assert ways[0] == [("up", "index.html"), ("next", quote(f"album/{HOSTILE[:-4]}.html"))]
    assert ways[2] == [
        ("prev", quote(f"{HOSTILE[:-4]}.html")), ("up", "../index.html"), ("next", "b.flac.html"),
    ]  # fmt: skip
    assert ways[4] == [("prev", "b.flac.html"), ("up", "../index.html")]
    assert result.exit_code == 1
    assert result.stderr.startswith(f"1 of 6 could not be used:\n  {music}/broken.mp3: not audio")
    assert '"url": "../../music/album/a.wav"' in (pages / "album" / "a.html").read_text()
    assert max(path.stat().st_size for path in pages.rglob("*.html")) < 100_000


def test_a_damaged_recording_has_a_page_if_asked(seven, tmp_path) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(seven.read_bytes()[: seven.stat().st_size // 2])
    refused = run(path, "-o", tmp_path, "-m", "MTT_vgg")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"Error: {path}: cut off, 3.5 s of the 7.0 s")
    used = run(path, "-o", tmp_path, "-m", "MTT_vgg", "--damaged", "use")
    assert (used.exit_code, used.stdout) == (0, f"{tmp_path / 'cut.html'}\n")
    assert used.stderr == f"Warning: {path}: damaged, 3.5 s could not be decoded\n"


def test_the_same_name_twice_is_two_pages(seven, tmp_path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(seven, other)
    result = run(seven, other / "seven.wav", "-o", tmp_path, "-m", "MTT_vgg")
    names = [Path(line).name for line in result.stdout.splitlines()]
    assert names == ["seven.wav.html", "seven.wav (2).html", "index.html"]


def test_a_list_replaces_no_other_file(seven, tmp_path) -> None:
    (tmp_path / "index.html").write_text("mine")
    result = run(seven, HARPSICHORD, "-o", tmp_path, "-m", "MTT_vgg")
    assert result.exit_code == 0
    assert "exists and is not a listening page; name another file; there is no list" in (
        result.stderr
    )
    assert (tmp_path / "index.html").read_text() == "mine"
    assert "<nav" not in (tmp_path / "seven.html").read_text()


def test_a_page_that_cannot_be_written_is_said_before_the_work(
    seven, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(Tagger, "__init__", None)  # nothing is loaded
    (tmp_path / "seven.html").write_text("mine")
    result = run(seven, "-o", tmp_path)
    assert result.exit_code == 1
    assert "exists and is not a listening page" in result.stderr
    assert (tmp_path / "seven.html").read_text() == "mine"
    result = run(seven, HARPSICHORD, "-o", tmp_path / "x.html")
    assert result.exit_code == 2
    assert "name a folder for those of several files" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give files, --microphone or --stdin"),
        ([TECHNO, "--stdin"], "one of the three"),
        (["--stdin", "--microphone"], "one of the three"),
        ([TECHNO, "--rate", "8000"], "--rate goes with --raw"),
        ([TECHNO, "--raw", "s16le"], "--raw goes with --stdin"),
        (["--stdin", "--input-device", "3"], "--input-device goes with --microphone"),
        ([TECHNO, "-k", "3"], "--top-k goes with --microphone or --stdin"),
        (["--stdin", "-o", "x.html"], "--output goes with files"),
        (["--stdin", "--damaged", "use"], "--damaged goes with files"),
        ([TECHNO, "--port", "1"], "--port goes with --serve"),
        ([TECHNO, "--serve", "--link"], "--link goes with pages that are written"),
        (["--stdin", "-m", "MTT_vgg", "-m", "MSD_vgg"], "live tags are of one model; received 2"),
        ([TECHNO, "-m", "MTT_vg"], "did you mean"),
        (["--stdin", "--raw", "s16"], "samples must be one of"),
        (["--stdin", "-k", "0"], "top_k must be at least 1"),
    ],
)
def test_options_that_do_not_go_together(arguments, message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


def test_standard_input_gives_the_rows_of_the_taggram(seven) -> None:
    expected = Tagger().taggram(seven, hop_s=1.0)
    result = run("--stdin", "-f", "jsonl", "-k", "50", input=seven.read_bytes())
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert len(rows) == len(expected) == 5
    for row, time, scores in zip(rows, expected.times, expected.scores, strict=True):
        assert row["start_s"] == pytest.approx(time, abs=1e-3)
        assert row["end_s"] == pytest.approx(time + expected.patch_s, abs=1e-3)
        found = [row["tags"][tag] for tag in expected.tags]
        np.testing.assert_allclose(found, scores, atol=1e-4)
        assert list(row["tags"].values()) == sorted(row["tags"].values(), reverse=True)


def test_lines_of_text_where_there_is_no_terminal(seven) -> None:
    samples, _ = soundfile.read(seven, dtype="int16")
    raw = ("--raw", "s16le", "--rate", "16000", "--channels", "1")
    result = run("--stdin", *raw, "-k", "2", "--hop", "3", input=samples.tobytes())
    assert re.fullmatch(
        r" 0:03\.0  techno 0\.\d\d, electronic 0\.\d\d\n 0:06\.0  techno 0\.\d\d, .*\n",
        result.stdout,
    )


def test_silent_rows_say_so_and_many_rows_may_come_at_once(seven) -> None:
    samples, _ = soundfile.read(seven, dtype="int16")
    heard = np.concatenate([samples[:64_000], np.zeros(64_000, np.int16)])
    sound = heard.tobytes()
    options = ("--raw", "s16le", "--rate", "16000", "--channels", "1", "-k", "1", "--hop", "0.05")
    lines = run("--stdin", *options, input=sound).stdout.splitlines()
    silent = Tagger().taggram(heard / 2**15, sample_rate=16_000, hop_s=0.05).silent
    assert [line.endswith("  silent") for line in lines] == silent.tolist()
    assert 0 < silent.sum() < len(silent)
    records = run("--stdin", *options, "-f", "jsonl", input=sound).stdout.splitlines()
    assert [json.loads(record)["tags"] == {} for record in records] == silent.tolist()


def test_nothing_on_standard_input_is_an_error() -> None:
    for arguments in ((), ("--raw", "s16le")):
        result = run("--stdin", *arguments, input=b"")
        assert result.exit_code == 1
        assert re.fullmatch(
            "Error: standard input: (not audio.*|holds no samples)\n", result.stderr
        )


def test_without_a_microphone_it_is_said(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = run("--microphone")
    assert result.exit_code == 2
    assert "pip install sounddevice" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX terminal")
def test_on_a_terminal_the_bars_stay_in_place(seven) -> None:
    seen, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": "60", "TERM": "xterm"}
    with seven.open("rb") as sound:
        process = subprocess.Popen(
            [SCRIPT, "listen", "--stdin", "-k", "3"], stdin=sound, stdout=terminal,
            stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
    os.close(terminal)
    text = b""
    while True:
        try:
            part = os.read(seen, 4096)
        except OSError:  # Linux, when the other end is closed
            break
        if not part:
            break
        text += part
    os.close(seen)
    assert (process.wait(), process.stderr.read()) == (0, b"")
    process.stderr.close()
    frames = text.decode().replace("\r\n", "\n").split("\x1b[4A")
    assert len(frames) == 5
    for frame in frames:
        head, *lines = frame.removeprefix("\x1b[J").splitlines()
        assert re.fullmatch(r"heard until 0:0\d\.\d", head)
        assert len(lines) == 3
        for line in lines:
            _, score, bar = re.fullmatch(r" *([a-z ]+?)  (\d\.\d\d)  (█*)", line).groups()
            assert len(line) < 60
            assert len(bar) == pytest.approx(40 * float(score), abs=1)
        assert lines[0].split()[0] == "techno"


def test_bars_of_what_was_heard_before_do_not_stay_in_silence(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    noise = np.random.default_rng(0).normal(0, 0.1, 47_000)
    sound = np.concatenate([noise, np.zeros(50_000)])
    LiveView(2, "text").show(Tagger().taggram(sound, sample_rate=16_000, hop_s=3))
    first, second = capsys.readouterr().out.split("\x1b[3A")
    assert len(first.splitlines()) == 3
    assert second == "\x1b[Jheard until 0:06.0, silent\n"


def test_tags_cannot_command_the_terminal(seven, tmp_path) -> None:
    evil = ("\x1b[2J", "a\nb", "=1+1", *(f"t{index}" for index in range(47)))
    save_pretrained(build_model("vgg", tags=evil), tmp_path / "evil")
    result = run("--stdin", "-m", tmp_path / "evil", "-k", "50", input=seven.read_bytes())
    assert result.exit_code == 0
    assert r"\x1b[2J" in result.stdout
    assert r"a\nb" in result.stdout
    assert "\x1b" not in result.stdout
    assert len(result.stdout.splitlines()) == 5


@pytest.mark.skipif(sys.platform == "win32", reason="ends it by a signal")
def test_it_serves_until_it_is_interrupted() -> None:
    process = subprocess.Popen(
        [SCRIPT, "listen", str(STRINGS), str(TECHNO), "--serve", "-m", "MTT_vgg"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # Behind "&" in a script it would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    ready, _, _ = select.select([process.stdout], [], [], 120)
    assert ready
    url, rest = process.stdout.readline().split("  ")
    assert rest == "2 recordings; Ctrl+C ends it\n"
    with urllib.request.urlopen(f"{url}page/1", timeout=60) as answer:
        assert b"techno_loop.ogg" in answer.read()
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error) == (0, "", "")
