"""Files that crash, hang or fill the decoder: the run goes on, and says so."""

import csv
import io
import logging
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from helpers_audio import TECHNO, chirps

import musicnn_zoo
from musicnn_zoo.cli import cli
from musicnn_zoo.errors import AudioError, DecoderCrashError, DecoderTimeoutError
from musicnn_zoo.library.store import Store, run_library
from musicnn_zoo.sound import isolation, read
from musicnn_zoo.sound.decoders import NotDecodedError
from musicnn_zoo.sound.isolation import prepare_decoding
from musicnn_zoo.sound.read import AudioStream, load_audio

INPUTS = Path(__file__).parent / "inputs"

pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(sys.platform == "win32", reason="crashes by signals"),
]

STUB = """
    import os, signal, sys, time
    import av
    opened = av.open
    def open_or_die(file, *rest, **options):
        name = os.path.basename(str(file))
        seen = str(file).removeprefix("file:") + ".seen"
        if name.startswith("segv"):
            print("Note: this decoder has had enough", file=sys.stderr, flush=True)
            with open(seen, "a") as tries:
                tries.write("x")
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("once") and not os.path.exists(seen):
            open(seen, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("sleep"):
            time.sleep(600)
        if name.startswith("print"):
            os.write(1, b"Note: Illegal Audio-MPEG-Header")
        return opened(file, *rest, **options)
    av.open = open_or_die
"""


@pytest.fixture
def deadly_decoder(tmp_path_factory, monkeypatch):
    """Workers whose decoder dies of some names."""
    folder = tmp_path_factory.mktemp("stub")
    (folder / "sitecustomize.py").write_text(textwrap.dedent(STUB))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(isolation, "_PATIENCE_S", 3.0)
    isolation._workers.close()
    yield
    isolation._workers.close()


def write(path, seconds=0.5, seed=0):
    sound = np.random.default_rng(seed).normal(0, 0.1, (round(seconds * 16000), 1))
    soundfile.write(path, sound, 16000, format="WAV", subtype="PCM_16")
    return str(path)


def test_a_worker_gives_what_this_process_does(tmp_path):
    files = [TECHNO, tmp_path / "x.flac", tmp_path / "y.wav", INPUTS / "aac_7.1.m4a"]
    soundfile.write(files[1], chirps(25.0).T, 44100)
    soundfile.write(files[2], chirps(1.0).T, 8000)
    for path in files:
        here, there = load_audio(path), load_audio(path, isolate=True)
        np.testing.assert_array_equal(here.samples, there.samples)
        assert here.source == there.source
    with files[1].open("rb") as file:
        there = load_audio(file, isolate=True)
    np.testing.assert_array_equal(load_audio(files[1]).samples, there.samples)
    cut_off = tmp_path / "cut_off.wav"
    cut_off.write_bytes(Path(write(tmp_path / "z.wav", 9.0)).read_bytes()[: 44 + 6400])
    missing = str(tmp_path / "missing.wav")
    with pytest.raises(AudioError, match="there is no such file"):
        load_audio(missing, isolate=True)
    (tmp_path / "words.wav").write_text("words " * 100)
    for isolate in (False, True):
        with pytest.raises(AudioError, match=r"words.wav: not audio that") as refused:
            load_audio(tmp_path / "words.wav", isolate=isolate)
        assert refused.type is NotDecodedError
        with pytest.raises(AudioError, match=r"cut_off.wav: cut off, 0.2 s of the 9.0") as cut:
            load_audio(cut_off, isolate=isolate)
        assert cut.type is AudioError


@pytest.mark.usefixtures("deadly_decoder")
def test_a_crash_is_an_error_of_the_file(tmp_path, caplog):
    path = write(tmp_path / "segv.wav")
    with (
        caplog.at_level(logging.DEBUG, "musicnn_zoo.sound.isolation"),
        pytest.raises(DecoderCrashError, match=r"segv.wav: crashes the decoder \(SIGSEGV\), tried"),
    ):
        load_audio(path, isolate=True)
    assert "segv.wav: Note: this decoder has had enough" in caplog.text
    assert len(load_audio(write(tmp_path / "good.wav"), isolate=True).samples) == 8000


@pytest.mark.usefixtures("deadly_decoder")
def test_a_file_that_crashed_once_is_tried_again(tmp_path):
    path = write(tmp_path / "once.wav", 25.0)
    np.testing.assert_array_equal(
        load_audio(path, isolate=True).samples, soundfile.read(path, dtype="float32")[0]
    )


@pytest.mark.usefixtures("deadly_decoder")
def test_a_decoder_that_hangs_is_ended(tmp_path):
    with pytest.raises(DecoderTimeoutError, match=r"sleep.wav: the decoder gave nothing for 3 s"):
        load_audio(write(tmp_path / "sleep.wav"), isolate=True)


@pytest.mark.usefixtures("deadly_decoder")
def test_what_decoders_print_is_for_the_log(tmp_path, caplog, capfd):
    with caplog.at_level(logging.DEBUG, "musicnn_zoo.sound.isolation"):
        load_audio(write(tmp_path / "print.wav"), isolate=True)
    assert "print.wav: Note: Illegal Audio-MPEG-Header" in caplog.text
    assert capfd.readouterr() == ("", "")


def test_a_consumer_that_stops_leaves_no_worker_behind(tmp_path):
    path = write(tmp_path / "long.wav", 65.0)
    blocks = iter(AudioStream(path, isolate=True))
    assert len(next(blocks)) > 0
    blocks.close()
    assert not any(worker.busy for worker in isolation._workers._busy)
    assert len(load_audio(path, isolate=True).samples) == 65 * 16000


@pytest.fixture
def no_workers():
    isolation._workers.close()
    yield
    isolation._workers.close()


KINDS = {"WAV": "av", "FLAC": "av", "MP3": "soundfile", "OGG": "soundfile"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_process_that_decodes_can_be_started_before(kind, tmp_path, no_workers):
    path = tmp_path / f"clip.{kind.lower()}"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000, format=kind)
    prepare_decoding(
        read.__name__, ["--top-k", "3", str(tmp_path / "missing.wav"), str(tmp_path), str(path)]
    )
    (prepared,) = isolation._workers._idle
    assert not prepared._imported
    assert len(load_audio(path, isolate=True).samples) == 16000
    assert isolation._workers._idle == [prepared]
    assert prepared._imported == {KINDS[kind], "soxr", "musicnn_zoo.sound.read"}


def test_a_process_imports_more_for_another_kind_of_file(tmp_path, no_workers):
    paths = [tmp_path / "clip.mp3", tmp_path / "clip.flac"]
    for path in paths:
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
        assert len(load_audio(path, isolate=True).samples) == 16000
    (worker,) = isolation._workers._idle
    assert {"soundfile", "av"} <= worker._imported


def test_nothing_is_started_before_for_what_is_no_file(tmp_path, no_workers):
    prepare_decoding(read.__name__, [])
    prepare_decoding(read.__name__, ["-h", str(tmp_path), str(tmp_path / "missing.wav"), "a\0b"])
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        prepare_decoding(read.__name__, [str(tmp_path / "pipe")])
    assert not isolation._workers._idle


def test_a_prepared_process_that_died_is_replaced(tmp_path, no_workers):
    path = tmp_path / "clip.wav"
    write(path)
    prepare_decoding(read.__name__, [str(path)])
    (prepared,) = isolation._workers._idle
    prepared._process.kill()
    prepared._process.wait()
    assert len(load_audio(path, isolate=True).samples) == 8000
    (worker,) = isolation._workers._idle
    assert worker is not prepared


def test_what_cannot_be_imported_for_a_file_is_no_fault_of_the_file(no_workers):
    worker = isolation._workers.take(["soxr"])
    isolation._workers.give_back(worker, "")
    with pytest.raises(isolation.WorkerStartError, match="No module named 'no_such_module'"):
        isolation._workers.take(["soxr", "no_such_module"])
    assert not worker.alive()


def test_workers_that_were_killed_while_idle_are_no_fault_of_a_file(tmp_path):
    path = write(tmp_path / "good.wav", 65.0)
    streams = [iter(AudioStream(path, isolate=True)) for _ in range(3)]
    for stream in streams:
        next(stream)
    for stream in streams:
        assert len(list(stream)) > 0
    for worker in isolation._workers._idle:
        worker._process.kill()
    assert len(load_audio(path, isolate=True).samples) == 65 * 16000


def test_a_worker_that_was_killed_while_idle_is_no_zombie(tmp_path):
    load_audio(write(tmp_path / "good.wav"), isolate=True)
    (worker, *_) = isolation._workers._idle
    os.kill(worker._process.pid, signal.SIGKILL)
    ends = time.monotonic() + 10
    while worker in isolation._workers._idle:
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert worker._process.returncode == -signal.SIGKILL


def test_a_forked_child_says_nothing_of_the_workers_of_its_parent(tmp_path):
    path = write(tmp_path / "good.wav")
    program = f"""
        import os
        from musicnn_zoo.sound.read import load_audio
        load_audio({path!r}, isolate=True)
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
            load_audio({path!r}, isolate=True)
        else:
            load_audio({path!r}, isolate=True)
            os._exit(0)
    """
    said = subprocess.run(
        [sys.executable, "-W", "always::ResourceWarning", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip
    assert "ResourceWarning" not in said


def test_without_a_temporary_folder_there_are_workers(tmp_path, monkeypatch):
    def none_there():
        raise FileNotFoundError(2, "No usable temporary directory found")

    isolation._workers.close()
    path = write(tmp_path / "good.wav")
    monkeypatch.setattr(isolation.tempfile, "TemporaryFile", none_there)
    assert len(load_audio(path, isolate=True).samples) == 8000
    assert isolation._workers._idle
    isolation._workers.close()


def test_workers_import_nothing_from_the_working_directory(tmp_path, monkeypatch):
    for name in ("json", "struct", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    isolation._workers.close()
    worker = isolation._workers.take(["musicnn_zoo.sound.read"])
    isolation._workers.give_back(worker, "")
    assert len(load_audio(write("good.wav"), isolate=True).samples) == 8000


@pytest.mark.parametrize("change", [("executable", None), ("executable", ""), ("frozen", True)])
def test_a_program_that_python_is_part_of_is_not_started_again(tmp_path, monkeypatch, change):
    isolation._workers.close()
    monkeypatch.setattr(sys, *change, raising=False)
    assert len(load_audio(write(tmp_path / "good.wav"), isolate=True).samples) == 8000
    assert not isolation._workers._idle


def test_where_no_worker_can_be_started_the_process_decodes_itself(tmp_path, monkeypatch, caplog):
    isolation._workers.close()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no_python"))
    path = write(tmp_path / "good.wav")
    with caplog.at_level(logging.WARNING):
        assert len(load_audio(path, isolate=True).samples) == 8000
    assert "no process can be started for decoding" in caplog.text


def test_a_dangerous_file_is_refused_where_no_worker_can_be_started(tmp_path, monkeypatch):
    isolation._workers.close()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no_python"))
    for isolate in (False, True):
        with pytest.raises(AudioError, match=r"order.mov: describes its channels itself, which is"):
            load_audio(INPUTS / "mov_custom_channel_order.mov", isolate=isolate)


def test_a_file_larger_than_the_memory_of_a_worker_is_read_by_its_name(tmp_path):
    """The file is empty space; a name that is not UTF-8 is no reason to send it."""
    path = Path(write(tmp_path / "cafe.wav")).rename(tmp_path / os.fsdecode(b"caf\xe9.wav"))
    size = 1100 << 20
    with path.open("r+b") as file:
        file.seek(40)
        file.write(size.to_bytes(4, "little"))
        file.truncate(44 + size)
    blocks = iter(AudioStream(path, isolate=True))
    assert len(next(blocks)) > 0
    blocks.close()


def test_a_dangerous_file_is_isolated_without_being_asked():
    """PyAV before 19 corrupts memory; later ones decode 4 s of it."""
    try:
        assert load_audio(INPUTS / "mov_custom_channel_order.mov").duration_s == 4.0
    except DecoderCrashError as error:
        assert "crashes the decoder" in str(error)  # noqa: PT017
    content = io.BytesIO((INPUTS / "mov_custom_channel_order.mov").read_bytes())
    try:
        assert load_audio(content).duration_s == 4.0
    except DecoderCrashError as error:
        assert "crashes the decoder" in str(error)  # noqa: PT017


def test_a_flipped_bit_loses_a_frame_and_not_the_track():
    audio = load_audio(INPUTS / "flac_one_bit_flip.flac")
    assert audio.damaged
    assert 0 < audio.lost_s < 0.5
    assert audio.duration_s + audio.lost_s == pytest.approx(3.0, abs=0.01)


@pytest.mark.usefixtures("deadly_decoder")
def test_a_library_with_killers_has_all_other_rows(tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    for number in range(60):
        write(music / f"good_{number:03}.wav", 0.2, seed=number)
    tagger = musicnn_zoo.Tagger("MTT_musicnn", engine="onnxruntime")

    def run(output):
        paths = sorted(map(str, [*music.glob("*.wav"), *music.glob("*.flac")]))
        with Store(tmp_path / output, {"kind": "tags"}) as store:
            summary = run_library(paths, tagger.tag_files, store)
            with store.failures.open(newline="") as file:
                return summary, list(csv.DictReader(file))

    without, _ = run("without.csv")
    assert (without.done, without.failed) == (60, 0)
    for number in range(3):
        write(music / f"segv_{number}.wav")
        shutil.copy(INPUTS / "flac_one_bit_flip.flac", music / f"segv_{number}.flac")
    write(music / "sleep.wav")
    summary, failures = run("with.csv")
    assert (summary.done, summary.failed) == (60, 7)
    assert sum("SIGSEGV" in each["reason"] for each in failures) == 6
    assert sum("gave nothing" in each["reason"] for each in failures) == 1
    assert (tmp_path / "with.csv").read_bytes() == (tmp_path / "without.csv").read_bytes()
    again, failures = run("with.csv")
    assert (again.done, again.skipped, again.failed) == (0, 60, 7)
    assert sum("in an earlier run" in each["reason"] for each in failures) == 6


def tries_of(paths):
    return [len(Path(f"{path}.seen").read_text()) for path in paths]


@pytest.mark.usefixtures("deadly_decoder")
def test_a_library_with_killers_goes_on_after_a_kill(tmp_path):
    """The run waits for a decoder that hangs when it is killed: crashes and rows lie behind it."""
    good = [write(tmp_path / f"good_{number:02}.wav", 0.2, seed=number) for number in range(20)]
    killers = [write(tmp_path / f"segv_{number}.wav") for number in range(4)]
    sleeper = write(tmp_path / "sleep.wav")
    files = [*good[:8], *killers[:3], *good[8:10], sleeper, killers[3], *good[10:]]
    without, output = tmp_path / "without.csv", tmp_path / "with.csv"
    assert CliRunner().invoke(cli, ["tag", *good, "-o", str(without)]).exit_code == 0

    def written():
        journal = tmp_path / "with.csv.run" / "journal.jsonl"
        return journal.read_text().count("\n") if journal.exists() else 0

    package = str(Path(musicnn_zoo.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.environ["PYTHONPATH"] + os.pathsep + package}
    process = subprocess.Popen(
        [sys.executable, "-m", "musicnn_zoo", "tag", *files, "-o", str(output)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while process.poll() is None and written() < 10:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert tries_of(killers[:3]) == [2, 2, 2]

    result = CliRunner().invoke(cli, ["tag", *files, "-o", str(output)])
    assert result.exit_code == 1
    assert f"{output}: 10 done, 10 unchanged, 5 failed" in result.stderr
    assert output.read_bytes() == without.read_bytes()
    with (tmp_path / "with.csv.run" / "failures.csv").open(newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert reasons.keys() == {*killers, sleeper}
    assert all("in an earlier run" in reasons[path] for path in killers[:3])
    assert "crashes the decoder (SIGSEGV)" in reasons[killers[3]]
    assert "gave nothing for 3 s" in reasons[sleeper]
    assert tries_of(killers[:3]) == [2, 2, 2]


def children_of(process):
    children = Path(f"/proc/{process}/task/{process}/children")
    return children.read_text().split()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("deadly_decoder")
def test_ctrl_c_ends_a_library_run_and_its_workers(tmp_path, monkeypatch):
    """A terminal sends it to the processes of the run, while a worker decodes what hangs."""
    good = [write(tmp_path / f"good_{number:02}.wav", 0.2, seed=number) for number in range(12)]
    sleeper = write(tmp_path / "sleep.wav")
    files, output = [*good[:6], sleeper, *good[6:]], tmp_path / "out.csv"
    package = str(Path(musicnn_zoo.__file__).parents[1])
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from musicnn_zoo.__main__ import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "tag", *files, "-o", str(output)],
        env={**os.environ, "PYTHONPATH": os.environ["PYTHONPATH"] + os.pathsep + package},
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    journal = tmp_path / "out.csv.run" / "journal.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_text().count("\n") > 5):
        time.sleep(0.01)
    workers = children_of(process.pid)
    assert workers
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "\nstopped by Ctrl+C\n")
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker outlives the run"
        time.sleep(0.05)
    finished = len({line.split(",")[0] for line in output.read_text().split("\n")[1:] if line})
    assert 6 <= finished < len(files)
    monkeypatch.setenv("PYTHONPATH", "")  # where decoders do not sleep
    result = CliRunner().invoke(cli, ["tag", *files, "-o", str(output)])
    assert result.exit_code == 0
    rest = len(files) - finished
    assert f": {rest} done, {finished} unchanged, 0 failed" in result.stderr
    assert len({line.split(",")[0] for line in output.read_text().split("\n")[1:] if line}) == 13


def test_ctrl_c_while_a_worker_starts_does_not_end_it(tmp_path):
    """Python itself answers it, before any line of ours has run."""
    code = """
    import os, signal, sys, time
    from musicnn_zoo.sound import isolation
    signal.signal(signal.SIGINT, lambda *_: None)
    isolation.prepare_decoding("musicnn_zoo.sound.read", sys.argv[1:])
    (worker,) = isolation._workers._idle
    for _ in range(100):
        os.killpg(0, signal.SIGINT)
        time.sleep(0.002)
    worker.start(["json"])
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), write(tmp_path / "a.wav")],
        env={**os.environ, "PYTHONPATH": str(Path(musicnn_zoo.__file__).parents[1])},
        capture_output=True, text=True, check=False, start_new_session=True,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, "")


def test_a_dangerous_part_of_a_joined_file_repeats_nothing(tmp_path, monkeypatch):
    """The first part is decoded here; the worker, which has to begin again, decodes both."""
    good = (INPUTS / "aac_7.1.m4a").read_bytes()
    path = tmp_path / "joined.m4a"
    path.write_bytes(good + good)
    expected = load_audio(path)
    parts = []

    def refuse_the_second(*_):
        parts.append(len(parts))
        if len(parts) == 2:
            raise read._RiskyFile("is dangerous")

    monkeypatch.setattr(read, "_refuse_risk", refuse_the_second)
    stream = AudioStream(path)
    np.testing.assert_array_equal(np.concatenate(list(stream)), expected.samples)
    assert (len(parts), stream.duration_s) == (2, expected.duration_s)
