import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path

import librosa
import numpy as np
import pyarrow.parquet
import pytest
import soundfile
from click.testing import CliRunner
from conftest import BUNDLED, CLIPS
from helpers_audio import STRINGS, TECHNO, chirps, cut_in_half, encode

import musicnn_zoo
from musicnn_zoo import Tagger, list_models, model_info
from musicnn_zoo.cli import cli
from musicnn_zoo.errors import ArgumentError
from musicnn_zoo.sound.read import AudioStream
from musicnn_zoo.zoo.catalogue import PRESETS
from musicnn_zoo.zoo.weights import bundled

SCRIPT = shutil.which("musicnn-zoo", path=Path(sys.executable).parent)
MTT_TAGS = model_info("MTT_musicnn").tags
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="not a file name on Windows")


@pytest.fixture(scope="module")
def tagger():
    return Tagger("MTT_musicnn")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """Seven seconds of two shipped clips, two patches each."""
    folder = tmp_path_factory.mktemp("audio")
    for clip in (STRINGS, TECHNO):
        signal, _ = librosa.load(clip, sr=16000, duration=7)
        soundfile.write(folder / f"{clip.stem}.wav", signal, 16000, subtype="FLOAT")
    return folder


@pytest.fixture
def techno(tmp_path, shipped):
    return shutil.copy(shipped / "techno_loop.wav", tmp_path / "techno.wav")


@pytest.fixture
def strings(tmp_path, shipped):
    return shutil.copy(shipped / "bach_chorale_strings.wav", tmp_path / "strings.wav")


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "notes.mp3"
    path.write_text("These are only words about music.\n" * 100)
    return path


@pytest.fixture
def cut_mp3(tmp_path):
    path = tmp_path / "cut.mp3"
    soundfile.write(path, chirps(8).T, 44100)
    return cut_in_half(path)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """Music of 8 s, of each format that states its length, cut in the middle."""
    folder = tmp_path_factory.mktemp("cut")
    encode(folder / "cut.m4a", chirps(8), 44100, "aac", movflags="faststart")
    soundfile.write(folder / "cut.flac", chirps(8).T, 44100)
    return {path.suffix: cut_in_half(path) for path in folder.iterdir()}


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def output_of(*arguments):
    result = run(*arguments)
    drawn = [f"{arguments[arguments.index('--plot') + 1]}: drawn"] if "--plot" in arguments else []
    assert (result.exit_code, result.stderr.splitlines()) == (0, drawn)
    return result.stdout


def assert_usage_error(result, pattern):
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert re.fullmatch(rf"Error: .*{pattern}.*", result.stderr.splitlines()[-1])
    assert result.stdout == ""


def assert_one_line_about(result, path, pattern):
    assert result.exit_code == 1
    assert re.fullmatch(rf"Error: {re.escape(str(path))}: .*{pattern}.*\n", result.stderr)
    assert result.stdout == ""


def script(*arguments, **options):
    return subprocess.run(
        [SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False, **options
    )


def modules_after(*commands):
    """Modules that are loaded after each of some commands, one after the other in one process."""
    code = (
        "import json, sys\n"
        "from musicnn_zoo.cli import main\n"
        "for arguments in json.loads(sys.argv[1]):\n"
        "    sys.argv[1:] = arguments\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit:\n"
        "        print('\\nMODULES', *sys.modules)\n"
    )
    command = [sys.executable, "-c", code, json.dumps(commands)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line for line in output.splitlines() if line.startswith("MODULES ")]
    return [set(line.split()) for line in lines]


# Tags


@pytest.mark.platform
def test_tags_are_printed_as_the_library_prints_them(techno, tagger):
    assert output_of("tag", techno) == f"{tagger.tag(techno)}\n"


def test_another_model(techno):
    expected = Tagger("MTT_vgg").tag(techno)
    assert output_of("tag", techno, "-m", "MTT_vgg") == f"{expected}\n"


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        (["-k", "2"], {"top_k": 2}),
        (["--threshold", "0.2"], {"threshold": 0.2}),
        (["--top-k", "30", "-t", "0.05"], {"top_k": 30, "threshold": 0.05}),
        (["--hop", "1", "--patch", "4", "-k", "50"], {"hop_s": 1, "patch_s": 4, "top_k": 50}),
        (["--tail", "pad", "-k", "50"], {"tail": "pad", "top_k": 50}),
        (["--batch-size", "1", "--device", "cpu", "-k", "50"], {"top_k": 50}),
    ],
)
def test_options_do_what_keywords_do(techno, tagger, options, keywords):
    (result,) = json.loads(output_of("tag", techno, "-f", "json", *options))
    expected = tagger.tag(techno, **keywords)
    assert result["tags"].keys() == set(expected.names)
    assert result["tags"] == pytest.approx(dict(expected.ranked), abs=1e-5)
    assert result["dropped_s"] == pytest.approx(expected.clip.dropped_s, abs=5e-4)


def test_json_is_a_list_of_what_the_library_says(techno, strings, tagger):
    results = json.loads(output_of("tag", techno, strings, "-f", "json"))
    assert [result["source"] for result in results] == [str(techno), str(strings)]
    for path, result in zip((techno, strings), results, strict=True):
        expected = tagger.tag(path).to_dict()
        assert list(result["tags"]) == list(expected["tags"])
        assert result["tags"] == pytest.approx(expected["tags"], abs=1e-6)
        assert result | {"tags": 0} == expected | {"tags": 0}


def test_json_lines_are_the_items_of_json(techno, strings):
    lines = output_of("tag", techno, strings, "-f", "jsonl").splitlines()
    assert [json.loads(line)["source"] for line in lines] == [str(techno), str(strings)]
    assert all(len(json.loads(line)["tags"]) == 5 for line in lines)


@pytest.mark.platform
def test_csv_has_a_row_a_tag(techno, strings, tagger):
    rows = list(csv.DictReader(io.StringIO(output_of("tag", techno, strings, "-f", "csv"))))
    expected = [
        (str(path), str(rank), tag, score)
        for path in (techno, strings)
        for rank, (tag, score) in enumerate(tagger.tag(path), start=1)
    ]
    for row, (source, rank, tag, score) in zip(rows, expected, strict=True):
        assert (row["source"], row["rank"], row["tag"]) == (source, rank, tag)
        assert float(row["score"]) == pytest.approx(score, abs=2e-6)


@pytest.mark.parametrize("command", ["tag", "taggram", "events"])
@pytest.mark.parametrize("ending", ["json", "jsonl", "csv", "txt"])
def test_the_ending_of_the_output_chooses_the_format(techno, tmp_path, command, ending):
    form = "text" if ending == "txt" else ending
    output = tmp_path / f"out.{ending}"
    result = run(command, techno, "-o", output)
    assert (result.exit_code, result.stdout) == (0, "")
    if ending == "jsonl":
        (line,) = map(json.loads, output.read_text().splitlines())
        assert line.pop("size") == Path(techno).stat().st_size
        assert line.pop("mtime_ns") == Path(techno).stat().st_mtime_ns
        assert line == json.loads(output_of(command, techno, "-f", form))
    else:
        assert output.read_text() == output_of(command, techno, "-f", form)


def test_a_directory_means_all_audio_below_it(techno, strings, tmp_path):
    folder = tmp_path / "music"
    for path, name in [(techno, "b.wav"), (strings, "a.WAV"), (strings, "deep/er/c.wav")]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
    (folder / "notes.txt").write_text("no audio")
    (folder / ".hidden.wav").write_text("no audio")
    results = json.loads(output_of("tag", folder, techno, "-f", "json", "-k", 1))
    assert [result["source"] for result in results] == [
        str(folder / "a.WAV"), str(folder / "b.wav"), str(folder / "deep/er/c.wav"), str(techno),
    ]  # fmt: skip


def test_a_short_clip_is_said_to_be_repeated(tmp_path):
    soundfile.write(tmp_path / "short.wav", chirps(1).T, 44100)
    assert "short.wav, 1.0 s, repeated to fill one patch" in output_of(
        "tag", tmp_path / "short.wav"
    )


# Taggram


def test_a_taggram_is_printed_as_the_library_prints_it(techno, tagger):
    assert output_of("taggram", techno) == f"{tagger.taggram(techno)}\n"


@pytest.mark.platform
def test_a_taggram_in_json_and_csv_holds_all_scores(techno, tagger):
    expected = tagger.taggram(techno, hop_s=1)
    (as_json,) = json.loads(output_of("taggram", techno, "--hop", 1, "-f", "json"))
    np.testing.assert_allclose(as_json["scores"], expected.scores, rtol=0, atol=1e-5)
    assert as_json["times"] == expected.times.tolist()
    head, *rows = csv.reader(io.StringIO(output_of("taggram", techno, "--hop", 1, "-f", "csv")))
    assert head == ["source", "time_s", *MTT_TAGS]
    assert {row[0] for row in rows} == {str(techno)}
    numbers = np.array([row[1:] for row in rows], float)
    np.testing.assert_allclose(numbers[:, 0], expected.times, atol=5e-4)
    np.testing.assert_allclose(numbers[:, 1:], expected.scores, rtol=0, atol=1e-5)


# Events


def test_events_are_printed_as_the_library_prints_them(techno, tagger):
    options = {"threshold": 0.3, "release": 0.2, "min_length_s": 1, "hop_s": 0.5}
    printed = output_of(
        "events", techno, "-t", 0.3, "--release", 0.2, "--min-length", 1, "--hop", 0.5
    )
    expected = tagger.events(techno, **options)
    assert printed == f"{expected}\n"
    assert len(expected) > 1


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_events_in_other_formats(techno, strings, tagger, tmp_path, form):
    text = output_of("events", techno, strings, "-t", 0.3, "-f", form)
    expected = [
        (str(path), *event)
        for path in (techno, strings)
        for event in tagger.events(path, threshold=0.3)
    ]
    if form == "csv":
        rows = [row.values() for row in csv.DictReader(io.StringIO(text))]
        found = [(source, tag, *map(float, numbers)) for source, tag, *numbers in rows]
    else:
        parsed = json.loads(text) if form == "json" else map(json.loads, text.splitlines())
        found = [(one["source"], *event.values()) for one in parsed for event in one["events"]]
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose(
        [row[2:] for row in found], [row[2:] for row in expected], rtol=0, atol=6e-4
    )


# Map


@pytest.mark.platform
def test_a_map_is_printed_drawn_and_written(techno, strings, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, name in [(techno, "a/1.wav"), (strings, "a/2.wav"), (techno, "b/3.wav")]:
        Path("music", name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, Path("music", name))
    Path("music", "b", "4.mp3").write_text("These are only words.\n" * 50)
    result = run("map", "music", "--method", "pca", "--plot", "map.png", "-o", "map.csv")
    assert result.exit_code == 1
    head, *groups = result.stdout.splitlines()
    assert head.startswith("3 files, MTT_musicnn penultimate, PCA, ")
    assert groups == ["  a  2", "  b  1"]
    drawn, failed, why = result.stderr.splitlines()
    assert (drawn, failed) == ("map.png: drawn", "1 of 4 could not be used:")
    assert "4.mp3" in why
    assert Path("map.png").read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader(io.StringIO(Path("map.csv").read_text())))
    assert [row["folder"] for row in rows] == ["a", "a", "b"]
    assert rows[0]["x"] == rows[2]["x"]
    output_of("map", "music/a", "music/b/3.wav", "--method", "pca", "-o", "map.json",
              "--colour-by", "tag", "--layer", "timbral")  # fmt: skip
    saved = json.loads(Path("map.json").read_text())
    assert (saved["colour_by"], saved["layer"]) == ("tag", "timbral")
    assert [one["tag"] for one in saved["files"]][::2] == ["techno", "techno"]


def test_a_map_of_too_few_files_says_why(techno, text_file):
    result = run("map", techno, text_file, "--method", "pca")
    assert_usage_error(result, "needs at least 3 files .* received 1 .*notes.mp3: not audio")


# Pictures


@pytest.mark.parametrize(
    ("command", "ending"), [("tag", "png"), ("taggram", "svg"), ("events", "png")]
)
def test_a_picture_is_drawn_beside_what_is_printed(techno, tmp_path, command, ending):
    picture = tmp_path / f"picture.{ending}"
    assert output_of(command, techno, "--plot", picture) == output_of(command, techno)
    assert picture.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml"}[ending])


@on_posix
def test_a_name_does_no_harm_to_a_picture(techno, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "-<img src=x onerror=alert(1)>'\"$x$\x1b[2J\n.wav"
    shutil.copy(techno, name)
    printed = output_of("taggram", "--plot", "picture.svg", "-f", "csv", "--", name)
    assert {row[0] for row in csv.reader(io.StringIO(printed, newline=""))} == {
        "source", f"./{name}",
    }  # fmt: skip
    tree = xml.etree.ElementTree.parse("picture.svg")
    assert not any(element.tag.endswith("img") for element in tree.iter())


@pytest.mark.parametrize("command", ["tag", "taggram", "events"])
def test_a_picture_takes_one_file_and_an_ending_that_it_can_have(techno, strings, command):
    for arguments, pattern in (
        ((techno, strings, "--plot", "p.png"), "--plot draws .* one file; received 2 files"),
        ((Path(techno).parent, "--plot", "p.png"), "--plot draws .* received the directory"),
        ((techno, "--plot", "p.jpg"), r"a picture must end in \.png, \.svg, \.pdf"),
        ((techno, "--plot", "gone/p.png"), "there is no folder 'gone'"),
    ):
        assert_usage_error(run(command, *arguments), pattern)


@pytest.mark.parametrize("command", ["tag", "taggram", "events"])
def test_a_picture_does_not_go_with_an_output_that_is_gone_on_with(techno, tmp_path, command):
    result = run(command, techno, "--plot", tmp_path / "p.png", "-o", tmp_path / "out.csv")
    assert_usage_error(result, r"--plot does not go with output .*out\.csv")
    output_of(command, techno, "--plot", tmp_path / "p.png", "-o", tmp_path / "out.json")
    assert (tmp_path / "p.png").exists()


def test_a_picture_of_no_tags_is_refused(techno, tmp_path):
    result = run("tag", techno, "-t", "0.999", "--plot", tmp_path / "p.png")
    assert result.exit_code == 2
    assert "there are no tags to draw; choose a lower threshold" in result.stderr


@pytest.mark.platform
def test_info_draws_the_filters_of_a_model(tmp_path):
    picture = tmp_path / "filters.svg"
    assert output_of("info", "MTT_vgg", "--plot", picture) == output_of("info", "MTT_vgg")
    assert "strongest filters" in picture.read_text()
    assert_usage_error(run("info", "vgg", "--plot", picture), "without pretrained weights")
    assert_usage_error(run("info", "MTT_vgg", "--plot", "p.bmp"), "a picture must end in")


# Embed


@pytest.mark.platform
@pytest.mark.parametrize("pooling", ["mean", "max", "none"])
def test_embeddings_are_those_of_the_library(techno, strings, tmp_path, tagger, pooling):
    output = tmp_path / "out.npz"
    assert output_of("embed", techno, strings, "-o", output, "--pooling", pooling) == ""
    expected = [
        tagger.embed(path, pooling=None if pooling == "none" else pooling)
        for path in (techno, strings)
    ]
    with np.load(output) as saved:
        values = np.concatenate([np.atleast_2d(one.values) for one in expected])
        np.testing.assert_allclose(saved["embeddings"], values, rtol=1e-4, atol=1e-5)
        copies = 2 if pooling == "none" else 1
        assert list(saved["sources"]) == [str(techno)] * copies + [str(strings)] * copies
        assert list(saved["times"]) == [0, 2.992] * 2 if pooling == "none" else [0, 0]
        assert (str(saved["model"]), str(saved["layer"])) == ("MTT_musicnn", "penultimate")
        assert str(saved["pooling"]) == pooling


def test_a_layer_can_be_chosen(techno, tmp_path, tagger):
    output = tmp_path / "out.npz"
    output_of("embed", techno, "-o", output, "--layer", "timbral")
    with np.load(output) as saved:
        expected = tagger.embed(techno, layer="timbral").values
        np.testing.assert_allclose(saved["embeddings"], [expected], rtol=1e-4, atol=1e-5)
        assert str(saved["layer"]) == "timbral"


def test_embeddings_of_the_good_files_are_written(techno, text_file, strings, tmp_path):
    result = run("embed", techno, text_file, strings, "-o", tmp_path / "out.npz")
    assert result.exit_code == 1
    assert result.stderr.startswith("1 of 3 could not be used:\n")
    with np.load(tmp_path / "out.npz") as saved:
        assert list(saved["sources"]) == [str(techno), str(strings)]


def test_no_archive_is_written_without_embeddings(text_file, tmp_path):
    assert_one_line_about(run("embed", text_file, "-o", tmp_path / "out.npz"), text_file, "")
    assert not (tmp_path / "out.npz").exists()


# Models


@pytest.mark.parametrize("options", [[], ["--pretrained"]])
def test_models_are_listed_with_what_helps_to_choose(options):
    head, *rows = (re.split("  +", line) for line in output_of("models", *options).splitlines())
    assert head == [
        "model", "trained on", "tags", "ROC-AUC", "PR-AUC", "licence", "size", "weights",
        "front-end → back-end",
    ]  # fmt: skip
    assert [row[0] for row in rows] == list_models()
    for name, data, tags, *figures, licence, size, weights, architecture in rows:
        info = model_info(name)
        assert info.trained_on.startswith(data)
        assert tags == f"50: {', '.join(info.tags[:3])}, …"
        assert figures == ([f"{value:.2f}" for value in info.metrics.values()] or ["–", "–"])
        assert (licence, architecture) == (info.license, info.architecture)
        assert weights == ("bundled" if name in BUNDLED else "download")
        if name in BUNDLED:
            stored = bundled(PRESETS[name].sources[0]).stat().st_size
            assert float(size.removesuffix(" MB")) == pytest.approx(stored / 1e6, rel=0.05)


def test_architectures_are_listed_on_request():
    head, *rows = output_of("models", "--untrained").splitlines()
    assert head.split()[0] == "architecture"
    assert [row.split()[0] for row in rows] == list_models(pretrained=False)
    for row in rows:
        info = model_info(row.split()[0])
        cells = [info.name, info.input, info.architecture, f"{info.parameters:,}"]
        assert re.split("  +", row)[:4] == cells
    assert_usage_error(run("models", "short*"), r"only --untrained lists .* 'short\*': short_chunk")


def test_models_are_listed_by_pattern():
    rows = output_of("models", "mtt_*n").splitlines()[1:]
    assert [row.split()[0] for row in rows] == [
        "MTT_musicnn", "MTT_fcn", "MTT_crnn", "MTT_musicnn_won",
    ]  # fmt: skip


def test_a_pattern_that_fits_no_model_names_those_there_are():
    assert_usage_error(run("models", "zzz*"), r"'zzz\*'.*MTT_musicnn.*MSD_vgg")


def test_info_tells_all_about_a_model():
    text = output_of("info", "MSD_vgg")
    info = model_info("MSD_vgg")
    assert text == f"{info}\n"
    for value in (*info.tags, *info.endpoints, info.sha256, "605,748", "@inproceedings"):
        assert value in text


# Wrong command lines


@pytest.mark.platform
@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["tag", "-m", "MTT_musicn"], "unknown model 'MTT_musicn'; did you mean MTT_musicnn"),
        (["taggram", "-m", "mtt-vgg"], "did you mean MTT_vgg"),
        (["tag", "-m", "musicnn"], "architecture without pretrained weights.*MTT_musicnn"),
        (["tag", "-k", "0"], "top_k must be at least 1; received 0"),
        (["tag", "-k", "-3"], "top_k must be at least 1; received -3"),
        (["tag", "-k", "many"], "'many' is not a valid integer"),
        (["tag", "-k", "all"], "received 'all': --threshold 0 shows all tags"),
        (["tag", "-t", "2"], "threshold must be between 0 and 1; received 2"),
        (["tag", "-t", "-0.1"], "threshold must be between 0 and 1; received -0.1"),
        (["tag", "-t", "nan"], "threshold must be between 0 and 1; received nan"),
        (["tag", "--bogus"], "No such option.*--bogus"),
        (["tag", "--format", "xml"], "'xml' is not one of 'text', 'json', 'jsonl', 'csv'"),
        (["tag", "--tail", "keep"], "'keep' is not one of 'drop', 'pad'"),
        (["tag", "--batch-size", "0"], "0 is not in the range"),
        (["tag", "--patch", "5", "-m", "MTT_vgg"], "187 frames"),
        (["tag", "--patch", "0"], "patch_s must be a positive number"),
        (["taggram", "--hop", "-1"], "hop_s must be a positive number"),
        (["events", "-t", "1.5"], "threshold must be between 0 and 1; received 1.5"),
        (["events", "--release", "0.6"], "release must be between 0 and the threshold 0.5"),
        (["events", "--min-length", "-1"], "min_length_s must be at least 0"),
        (["map", "--method", "tsne"], "method must be one of auto, pca, umap; received 'tsne'"),
        (["map", "--colour-by", "year"], "colour_by must be one of folder, tag"),
        (["map", "-o", "map.txt"], r"must end in \.json, \.csv"),
        (["map", "--plot", "map.jpg"], "a picture must end in"),
        (["tag", "--device", "gpu:99"], "'gpu:99' is not there; TensorFlow sees cpu:0"),
        (["embed", "-o", "out.npz", "--layer", "penultimat"], "did you mean penultimate"),
        (["embed", "-o", "out.npz", "--pooling", "sum"], "'sum' is not one of"),
        (["embed"], "Missing option '-o'"),
    ],
)
def test_a_wrong_option_is_a_usage_error(techno, tmp_path, monkeypatch, arguments, pattern):
    monkeypatch.chdir(tmp_path)
    assert_usage_error(run(*arguments, techno), pattern)
    assert [path.name for path in tmp_path.iterdir()] == ["techno.wav"]


@pytest.mark.parametrize("command", ["tag", "taggram", "events", "embed"])
@pytest.mark.parametrize(
    ("output", "pattern"), [("missing/out.json", "there is no folder"), ("", "is a directory")]
)
def test_an_output_that_cannot_be_is_a_usage_error(techno, tmp_path, command, output, pattern):
    assert_usage_error(run(command, techno, "-o", tmp_path / output), pattern)


@pytest.mark.parametrize("output", ["out.xlsx", "out.m3u"])
@pytest.mark.parametrize(
    "command",
    [["tag"], ["taggram"], ["events"], ["embed"], ["map"], ["listen"], ["evaluate", "MTT_vgg"]],
    ids=" ".join,
)
def test_an_output_that_ends_in_no_format_is_a_usage_error(techno, tmp_path, command, output):
    assert_usage_error(run(*command, techno, "-o", tmp_path / output), r"must end in \.\w+")
    assert [path.name for path in tmp_path.iterdir()] == ["techno.wav"]


@pytest.mark.parametrize("output", [".csv", ".parquet", "out."])
@pytest.mark.parametrize("command", ["tag", "taggram", "events"])
def test_an_output_that_is_only_an_ending_or_has_none_is_a_usage_error(
    techno, tmp_path, command, output
):
    result = run(command, techno, "-o", tmp_path / output)
    assert_usage_error(result, "has no name before or after its last point")


def test_a_dash_is_standard_output(techno):
    assert (
        run("tag", techno, "-o", "-", "-f", "csv").output == run("tag", techno, "-f", "csv").output
    )


def test_parquet_is_not_written_as_text(techno, tmp_path):
    result = run("taggram", techno, "-o", tmp_path / "out.parquet", "-f", "csv")
    assert_usage_error(result, "Parquet is not one of the formats text, json, jsonl, csv")


@pytest.mark.parametrize("command", ["tag", "taggram"])
def test_without_files_it_is_a_usage_error(command):
    assert_usage_error(run(command), "Missing argument 'FILES...'")


def test_an_unknown_command_is_a_usage_error():
    assert_usage_error(run("tagg", "a.wav"), "No such command 'tagg'")


def test_an_unknown_model_is_a_usage_error_of_info():
    assert_usage_error(run("info", "MSD_musicn"), "did you mean MSD_musicnn")


@pytest.mark.parametrize("form", ["text", "json", "jsonl", "csv"])
def test_a_usage_error_leaves_an_old_output_alone(techno, tmp_path, form):
    (tmp_path / "out").write_text("old")
    assert_usage_error(run("tag", techno, "--hop", "0", "-o", tmp_path / "out", "-f", form), "hop")
    assert (tmp_path / "out").read_text() == "old"


def test_a_usage_error_prints_nothing_to_standard_output_as_json(techno):
    assert_usage_error(run("tag", techno, "--hop", "0", "-f", "json"), "hop_s")


# Bad input


def test_a_missing_file_is_named(tmp_path):
    missing = tmp_path / "missing.wav"
    assert_one_line_about(run("tag", missing), missing, "there is no such file")


def test_a_directory_without_audio_is_named(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert_one_line_about(run("tag", tmp_path), tmp_path, "holds no audio files")


@pytest.mark.parametrize("command", ["tag", "taggram"])
def test_text_under_an_audio_name_is_named(command, text_file):
    assert_one_line_about(run(command, text_file), text_file, "not audio")


def test_a_cut_file_is_named(cut_mp3):
    assert_one_line_about(run("tag", cut_mp3), cut_mp3, r"cut off, \d\.\d s of the 8.0 s")


@pytest.mark.platform
@pytest.mark.parametrize("ending", [".flac", ".m4a"])
@pytest.mark.parametrize("command", ["tag", "taggram", "events", "embed", "map"])
def test_a_cut_file_is_refused_or_used(cut, techno, strings, tmp_path, command, ending):
    path = cut[ending]
    files = [path, techno, strings] if command == "map" else [path]
    output = {"embed": ["-o", tmp_path / "x.npz"], "map": ["--method", "pca"]}.get(command, [])
    refused = run(command, *files, *output)
    if command == "map":
        assert_usage_error(refused, rf"received 2 .*cut\{ending}: cut off, [34].* of the 8.0 s")
    else:
        assert_one_line_about(refused, path, r"cut off, [34]\.\d s of the 8\.0 s .*--damaged use")
    used = run(command, *files, *output, "--damaged", "use")
    assert used.exit_code == 0
    said = rf"Warning: {re.escape(str(path))}: damaged, [34]\.\d s could not be decoded\n"
    assert re.fullmatch(said, used.stderr)
    if command == "embed":
        with np.load(output[1]) as saved:
            assert saved["embeddings"].shape == (1, 200)
    elif command == "map":
        assert used.stdout.startswith("3 files, ")
    else:
        assert re.match(r".*, [34]\.\d s, damaged: [34]\.\d s lost", used.stdout)
        (found,) = json.loads(run(command, path, "-f", "json", "--damaged", "use").stdout)
        assert found["damaged"]
        assert found["duration_s"] + found["lost_s"] == pytest.approx(8, abs=0.05)


@pytest.mark.platform
@pytest.mark.parametrize(
    ("command", "ending"),
    [("tag", "csv"), ("tag", "jsonl"), ("tag", "parquet"), ("taggram", "csv"),
     ("taggram", "parquet"), ("events", "csv"), ("events", "jsonl"), ("embed", "jsonl"),
     ("embed", "parquet")],
)  # fmt: skip
def test_a_library_run_marks_what_is_damaged(cut, techno, tmp_path, command, ending):
    output = tmp_path / f"x.{ending}"
    listed = tmp_path / f"x.{ending}.run" / "damaged.csv"
    refused = run(command, techno, *cut.values(), "-o", output)
    assert refused.exit_code == 1
    assert f"{output}: 1 done, 0 unchanged, 2 failed" in refused.stderr
    assert not listed.exists()
    used = run(command, techno, *cut.values(), "-o", output, "--damaged", "use")
    assert used.exit_code == 0
    assert used.stderr.startswith(f"{output}: 2 done (2 damaged), 1 unchanged, 0 failed")
    assert used.stderr.endswith(f"damaged: {listed}\n")
    with listed.open(newline="") as file:
        lost = {row["source"]: float(row["lost_s"]) for row in csv.DictReader(file)}
    assert lost == {str(path): pytest.approx(4, abs=0.6) for path in cut.values()}
    if ending == "jsonl":
        rows = [json.loads(line) for line in output.read_text().splitlines()]
    elif ending == "parquet" and command in ("tag", "embed"):
        rows = pyarrow.parquet.read_table(output).to_pylist()
    else:
        return
    marks = {row["source"]: (row["damaged"], row["lost_s"]) for row in rows}
    assert marks == {str(techno): (False, 0), **{path: (True, lost[path]) for path in lost}}


def test_json_of_bad_input_is_an_empty_list(text_file):
    result = run("tag", text_file, "-f", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == []


def test_good_files_are_tagged_and_bad_ones_listed(techno, text_file, cut_mp3, strings):
    result = run("tag", text_file, techno, cut_mp3, strings, "-f", "json")
    assert result.exit_code == 1
    assert [one["source"] for one in json.loads(result.stdout)] == [str(techno), str(strings)]
    head, *lines = result.stderr.splitlines()
    assert head == "2 of 4 could not be used:"
    assert [line.split(": ")[0] for line in lines] == [f"  {text_file}", f"  {cut_mp3}"]
    assert "Traceback" not in result.stderr


def test_missing_files_are_counted_and_listed_too(techno, tmp_path):
    result = run("tag", tmp_path / "one.wav", techno, tmp_path / "two.wav", "-f", "json")
    assert result.exit_code == 1
    assert [one["source"] for one in json.loads(result.stdout)] == [str(techno)]
    head, *lines = result.stderr.splitlines()
    assert head == "2 of 3 could not be used:"
    assert [line.split(": ")[0] for line in lines] == [
        f"  {tmp_path / 'one.wav'}",
        f"  {tmp_path / 'two.wav'}",
    ]


def test_a_directory_without_audio_does_not_stop_the_others(techno, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("tag", tmp_path / "empty", techno)
    assert result.exit_code == 1
    assert result.stdout.startswith(str(techno))
    assert "empty: the directory holds no audio files" in result.stderr


@on_posix
def test_a_name_that_is_too_long_does_not_stop_the_others(techno):
    result = run("tag", "x" * 300 + ".wav", techno)
    assert result.exit_code == 1
    assert result.stdout.startswith(str(techno))
    assert "x.wav" in result.stderr


@on_posix
def test_the_name_of_a_bad_file_sends_no_command_to_the_terminal(tmp_path):
    path = tmp_path / "\x1b[2J\nfake.wav"
    path.write_text("These are only words.")
    result = run("tag", path)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert r"\x1b[2J\nfake.wav" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "kind"), [(["-k", "0"], ArgumentError), (["--hop", "0"], ArgumentError)]
)
def test_traceback_lets_a_usage_error_through(techno, arguments, kind):
    assert isinstance(run("tag", techno, *arguments, "--traceback").exception, kind)


def test_traceback_shows_an_error_of_a_file(text_file):
    result = run("tag", text_file, "--traceback")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert "NotDecodedError: " in result.stderr


def test_an_unexpected_error_is_one_line_and_does_not_stop_the_others(techno, strings, monkeypatch):
    def fail_on_techno(stream):
        if stream.source == str(techno):
            raise ZeroDivisionError("first line\nsecond line")
        return original(stream)

    original = AudioStream.__iter__
    monkeypatch.setattr(AudioStream, "__iter__", fail_on_techno)
    result = run("tag", techno, strings)
    assert result.exit_code == 1
    assert result.stdout.startswith(str(strings))
    assert result.stderr.splitlines() == [
        "1 of 2 could not be used:",
        f"  {techno}: unexpected ZeroDivisionError: first line (--traceback shows where)",
    ]
    traced = run("tag", techno, strings, "--traceback")
    assert traced.stdout.startswith(str(strings))
    assert "Traceback" in traced.stderr
    assert "ZeroDivisionError" in traced.stderr


# The installed script


@pytest.mark.platform
def test_a_real_run_prints_its_result_and_nothing_else(tagger):
    result = script("tag", TECHNO)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{tagger.tag(TECHNO)}\n"


def test_a_real_run_over_good_and_bad_prints_only_its_own_lines(techno, cut_mp3, text_file):
    result = script("tag", techno, cut_mp3, text_file, "-k", 1, "-f", "jsonl")
    assert result.returncode == 1
    assert list(json.loads(result.stdout)["tags"]) == ["techno"]
    head, *lines = result.stderr.splitlines()
    assert head == "2 of 3 could not be used:"
    assert [line.split(": ")[0] for line in lines] == [f"  {cut_mp3}", f"  {text_file}"]


@on_posix
def test_a_reader_that_has_left_is_no_reason_for_a_traceback(techno):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        result = subprocess.run(
            [SCRIPT, "tag", techno],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (result.returncode, result.stderr) == (1, "")


def test_the_script_says_what_is_wrong_in_one_line(tmp_path):
    result = script("tag", tmp_path / "missing.wav")
    assert result.returncode == 1
    assert (
        result.stderr == f"Error: {tmp_path / 'missing.wav'}: there is no such file or directory\n"
    )
    assert result.stdout == ""


def test_the_script_shows_a_traceback_if_asked(techno):
    result = script("tag", techno, "-k", "0", "--traceback")
    assert result.returncode != 0
    assert result.stderr.startswith("Traceback (most recent call last)")
    assert result.stderr.splitlines()[-1].endswith("top_k must be at least 1; received 0")


def test_the_script_knows_its_version():
    assert script("--version").stdout == f"musicnn-zoo {musicnn_zoo.__version__}\n"


@pytest.mark.parametrize("arguments", [["models"], ["info", "MTT_musicnn"], ["tag", "--help"]])
def test_an_encoding_without_arrows_stops_no_table(arguments):
    windows = os.environ | {"PYTHONIOENCODING": "cp1252"}
    result = script(*arguments, env=windows, encoding="cp1252")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) > 5


def test_what_needs_no_model_loads_no_tensorflow():
    commands = [
        ["--help"],
        ["tag", "--help"],
        ["embed", "-h"],
        ["models"],
        ["info", "MTT_musicnn"],
        ["tag", "a.wav", "-k", "0"],
        ["tag", "a.wav", "-m", "MTT_musicn"],
        ["tag", "missing.wav"],
    ]
    for arguments, loaded in zip(commands, modules_after(*commands), strict=True):
        assert "musicnn_zoo.cli" in loaded
        heavy = loaded & {"tensorflow", "keras", "kapre", "librosa", "av"}
        assert not heavy, arguments


COMMANDS_BY_MODULE = {
    "analysis": ["embed", "events", "map", "tag", "taggram"],
    "app": ["app"],
    "collection": ["describe", "find", "playlist", "similar"],
    "catalogue": ["download", "export", "info", "models"],
    "indexing": ["index"],
    "learning": ["evaluate", "finetune", "train"],
    "listen": ["listen"],
    "serve": ["serve"],
    "merging": ["merge"],
    "selftest": ["selftest"],
    "write": ["write"],
}


def test_the_help_lists_all_commands_with_what_they_do():
    names = sorted(name for several in COMMANDS_BY_MODULE.values() for name in several)
    result = run("--help")
    listed = re.findall(r"^  ([a-z]+)  +([A-Z].{15,})$", result.output, re.MULTILINE)
    assert [name for name, _ in listed] == names
    for name in names:
        assert re.match(rf"Usage: cli {name} \[OPTIONS\]", run(name, "--help").output)
        assert "--traceback" in run(name, "--help").output
        assert "\\b" not in run(name, "--help").output


@pytest.mark.parametrize("module", COMMANDS_BY_MODULE)
def test_a_command_imports_no_other_commands(module):
    (loaded,) = modules_after([COMMANDS_BY_MODULE[module][0], "--help"])
    found = {each for each in COMMANDS_BY_MODULE if f"musicnn_zoo.cli.{each}" in loaded}
    needed = {"listen": {"analysis"}, "write": {"analysis"}}.get(module, set())
    assert found == {module} | needed


def test_tagging_imports_nothing_that_it_does_not_need():
    clip = CLIPS / "bach_prelude_harpsichord.ogg"
    (loaded,) = modules_after(["tag", str(clip)])
    assert {"onnxruntime", "musicnn_zoo.sound.read"} <= loaded
    needless = {"av", "filelock", "http.client", "pyarrow", "soundfile", "sklearn", "tqdm"}
    assert not loaded & needless


@pytest.mark.parametrize("arguments", [["models", "MTT_*"], ["tag", "missing.wav"], ["tog"]])
def test_the_end_of_the_process_keeps_what_was_printed_and_the_exit_code(arguments):
    expected = run(*arguments)
    command = [sys.executable, "-m", "musicnn_zoo", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == expected.exit_code
    assert result.stdout == expected.stdout
    assert bool(result.stderr) == bool(expected.stderr)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_result_that_cannot_be_written_at_the_end_is_an_error():
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "musicnn_zoo", "models"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert result.returncode == 1
    assert b"No space left" in result.stderr


# What people guess


def test_a_wide_table_has_a_line_for_each_file_and_a_column_for_each_tag(tmp_path, shipped, tagger):
    table = tmp_path / "tags.csv"
    result = run("tag", shipped, "-o", table, "--wide")
    assert result.exit_code == 0, result.output
    printed = output_of("tag", shipped, "--wide", "-f", "csv")
    rows = list(csv.DictReader(io.StringIO(table.read_text(encoding="utf-8"))))
    assert rows == list(csv.DictReader(io.StringIO(printed)))
    assert list(rows[0]) == ["source", *MTT_TAGS]
    for row in rows:
        expected = tagger.tag(row["source"])
        for tag in MTT_TAGS:
            assert float(row[tag]) == pytest.approx(expected[tag], abs=1e-5)
    assert "2 unchanged" in run("tag", shipped, "-o", table, "--wide").stderr


@pytest.mark.parametrize(
    ("options", "pattern"),
    [
        (["-k", "3"], "leave out --top-k and --threshold"),
        (["-f", "json"], "wide tables are CSV"),
        (["-o", "tags.parquet"], "--wide goes with CSV"),
    ],
)
def test_a_wide_table_that_cannot_be(techno, tmp_path, monkeypatch, options, pattern):
    monkeypatch.chdir(tmp_path)
    assert_usage_error(run("tag", techno, "--wide", *options), pattern)


@pytest.mark.parametrize("command", ["tag", "taggram", "events"])
def test_jams_say_what_json_says(tmp_path, techno, command):
    jams = pytest.importorskip("jams", reason="jams is not installed: the extra 'jams'")
    options = ["--threshold", "0.3"] if command == "events" else []
    output_of(command, techno, "-o", tmp_path / "techno.jams", *options)
    (plain,) = json.loads(output_of(command, techno, "-f", "json", *options))
    loaded = jams.load(str(tmp_path / "techno.jams"))
    assert loaded.validate()
    assert loaded.file_metadata.duration == pytest.approx(plain["duration_s"], abs=1e-3)
    (annotation,) = loaded.annotations
    assert annotation.namespace == "tag_open"
    found = [(each.value, each.time, each.duration, each.confidence) for each in annotation.data]
    length = plain["duration_s"]
    if command == "tag":
        expected = [(tag, 0, length, score) for tag, score in plain["tags"].items()]
    elif command == "events":
        expected = [
            (each["tag"], each["start_s"], each["end_s"] - each["start_s"], each["score"])
            for each in plain["events"]
        ]
    else:
        expected = [
            (tag, time, plain["patch_s"], score)
            for time, row in zip(plain["times"], plain["scores"], strict=True)
            for tag, score in zip(plain["tags"], row, strict=True)
        ]
    assert found
    for one, other in zip(sorted(found), sorted(expected), strict=True):
        assert one[0] == other[0]
        assert one[1:] == pytest.approx(other[1:], abs=1e-3)


def test_a_jams_file_is_of_one_recording(tmp_path, shipped):
    result = run("tag", shipped, "-o", tmp_path / "all.jams")
    assert_usage_error(result, "a JAMS file holds one recording; received the directory")


def test_patterns_choose_what_is_tagged(shipped):
    (one,) = json.loads(output_of("tag", shipped, "-f", "json", "--include", "techno*"))
    assert one["source"].endswith("techno_loop.wav")
    (one,) = json.loads(output_of("tag", shipped, "-f", "json", "--exclude", "techno*"))
    assert one["source"].endswith("bach_chorale_strings.wav")
    result = run("tag", shipped, "--include", "*.flac")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "holds no audio files that fit --include, --exclude and --hidden" in result.stderr


def test_no_tag_that_reaches_the_threshold_is_said(techno):
    assert re.search(r"no tag reached 0.99; the highest is techno with 0\.\d", output_of(
        "tag", techno, "--threshold", "0.99"
    ))  # fmt: skip


def test_silence_is_said_and_can_be_kept(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(80000), 16000)
    printed = output_of("tag", tmp_path / "silence.wav")
    assert "silent" in printed
    assert "no tag, since nothing can be heard" in printed
    kept = output_of("tag", tmp_path / "silence.wav", "--silence", "keep")
    assert len(kept.splitlines()) == 6


def test_what_fails_again_is_told_in_one_line(tmp_path, techno, text_file):
    output = tmp_path / "tags.csv"
    first = run("tag", techno, text_file, "-o", output)
    assert f"  {text_file}: not audio" in first.stderr
    second = run("tag", techno, text_file, "-o", output)
    assert "1 of 2 could not be used, as in the run before" in second.stderr
    assert "not audio" not in second.stderr
    assert second.exit_code == 1
    other = tmp_path / "other.mp3"
    other.write_bytes(text_file.read_bytes())
    third = run("tag", techno, text_file, other, "-o", output)
    assert "2 of 3 could not be used, 1 as in the run before:" in third.stderr
    assert f"  {other}: not audio" in third.stderr
    assert f"  {text_file}: not audio" not in third.stderr


def test_without_a_terminal_progress_is_told_in_lines(shipped, monkeypatch):
    from musicnn_zoo.cli import analysis

    monkeypatch.setattr(analysis, "_TOLD_EVERY_S", 0.0)
    result = run("tag", shipped)
    assert result.exit_code == 0
    assert re.fullmatch(r"1 of 2 files, 0 failed, about \d:\d\d\.\d left\n", result.stderr)


def test_models_can_be_listed_as_json():
    listed = json.loads(output_of("models", "-f", "json"))
    assert [model["name"] for model in listed] == list_models()
    untrained = json.loads(output_of("models", "--untrained", "-f", "json"))
    assert [model["name"] for model in untrained] == list_models(pretrained=False)
    by_name = {model["name"]: model for model in listed}
    assert tuple(by_name["MTT_musicnn"]["tags"]) == MTT_TAGS
    assert by_name["MTT_musicnn"]["license"] == model_info("MTT_musicnn").license


def test_download_says_what_is_ready_and_what_is_not_known():
    assert output_of("download", "MTT_vgg", "MSD_vgg") == "MTT_vgg: ready\nMSD_vgg: ready\n"
    assert_usage_error(run("download", "MTT_vgh"), "MTT_vgg")


def test_loud_samples_are_warned_of_in_a_line(tmp_path, techno):
    samples, rate = soundfile.read(techno)
    soundfile.write(tmp_path / "loud.wav", samples * 30000, rate, subtype="FLOAT")
    result = run("tag", tmp_path / "loud.wav")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Warning: {tmp_path / 'loud.wav'}: samples reach ")
