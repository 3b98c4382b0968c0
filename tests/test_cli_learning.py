"""The commands train and finetune, as users type them."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from hub_server import HubServer, patch_hub
from tones import tone, write_tones

import musicnn_zoo
from musicnn_zoo.cli import cli


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def finetune(data, output, *options, model="MTT_vgg"):
    return run(
        "finetune", data, "--model", model, "--output", output, "--validation", 0.25, "--test",
        0.25, "--batch-size", 4, *options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """The folder of a model that is trained in a moment."""
    model = musicnn_zoo.build_model(
        frontend=musicnn_zoo.block("rectangular", filters=(6,), pools=((4, 8),)),
        backend=musicnn_zoo.block("temporal_pooling", units=16),
        patch=61,
        name="small",
    )
    return musicnn_zoo.save_pretrained(model, tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="module")
def tuned(folder, pretrained, tmp_path_factory):
    output = tmp_path_factory.mktemp("tuned") / "tones"
    result = finetune(folder, output, "--head-epochs", 2, "--epochs", 1, model=pretrained)
    assert result.exit_code == 0, result.output
    return output, result


def test_a_folder_of_classes_becomes_a_model(tuned, folder) -> None:
    output, result = tuned
    assert "accuracy" in result.stdout
    assert "test of folder" not in result.stdout
    lines = result.stderr.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith("epoch")] == [
        "epoch 1", "epoch 2", "epoch 3",
    ]  # fmt: skip
    model = musicnn_zoo.load_model(output)
    assert (model.tags, model.zoo_config.activation) == (("low", "middle", "top"), "softmax")
    assert re.fullmatch(r"[A-Za-z0-9_]+_small", model.name)
    measured = json.loads((output / "training" / "test.json").read_text())
    assert f"{100 * measured['figures']['accuracy']:.2f}" in result.stdout


def test_the_same_command_again_does_not_train_again(tuned, folder, pretrained) -> None:
    output, first = tuned
    options = ("--head-epochs", 2, "--epochs", 1)
    again = finetune(folder, output, *options, model=pretrained)
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert "3 of them in an earlier run" in again.stderr
    assert "epoch 1:" not in again.stderr
    other = finetune(folder, output, *options, "--seed", 3, model=pretrained)
    assert other.exit_code == 2
    assert "other settings" in other.stderr


def test_saved_exported_and_pushed_it_is_the_same(tuned, folder, tmp_path, monkeypatch) -> None:
    """In a fresh process, as ONNX, and from the Hub."""
    output, _ = tuned
    clip = folder / "top" / "7.wav"
    code = (
        "import sys, numpy, musicnn_zoo\n"
        "model = musicnn_zoo.load_model(sys.argv[1])\n"
        "numpy.save(sys.argv[3], musicnn_zoo.taggram(sys.argv[2], model=model).scores)\n"
    )
    scores = tmp_path / "scores.npy"
    subprocess.run([sys.executable, "-c", code, output, clip, scores], check=True)
    expected = musicnn_zoo.taggram(clip, model=musicnn_zoo.load_model(output)).scores
    np.testing.assert_array_equal(np.load(scores), expected)
    exported = run("export", output, "--output", tmp_path / "tones.onnx")
    assert exported.exit_code == 0, exported.output

    import onnxruntime

    model = musicnn_zoo.load_model(output)
    window = tone(4000, 1, seed=1)[None]
    session = onnxruntime.InferenceSession(tmp_path / "tones.onnx")
    (ours,) = session.run(["output"], {"waveform": window})
    np.testing.assert_allclose(ours, model(window), atol=1e-5)
    with HubServer() as server:
        patch_hub(monkeypatch, server, tmp_path / "cache", token=server.token)
        place = musicnn_zoo.push_to_hub(output, "me/tones")
        assert "training" not in str(server.files("me/tones"))
        pushed = musicnn_zoo.load_model(place)
    assert pushed.tags == model.tags
    np.testing.assert_array_equal(pushed(window), model(window))


def test_tags_get_a_sigmoid_and_thresholds(folder, pretrained, tmp_path) -> None:
    table = tmp_path / "tones.csv"
    of_class = {"low": "dark", "middle": "dark;warm", "top": "bright;warm"}
    rows = [f"{path},{of_class[path.parent.name]}" for path in sorted(folder.glob("*/*.wav"))]
    table.write_text("path,tags\n" + "\n".join(rows))
    output = tmp_path / "out"
    options = ("--trainable", "head", "--head-epochs", 1)
    result = finetune(table, output, *options, model=pretrained)
    assert result.exit_code == 0, result.output
    assert "ROC-AUC" in result.stdout
    assert re.search(r"thresholds stored: .*best F1 on validation of tones", result.stderr)
    model = musicnn_zoo.load_model(output)
    assert model.zoo_config.activation == "sigmoid"
    tagged = run("tag", folder / "top" / "0.wav", "--model", output, "--threshold", "calibrated")
    assert tagged.exit_code == 0, tagged.output
    refused = finetune(table, tmp_path / "none", "--single-label")
    assert refused.exit_code == 2
    assert "--single-label needs exactly one tag a track" in refused.stderr


def evaluate(model, data, output, *options):
    """What `evaluate` says of the tracks, with the figures that it writes."""
    result = run("evaluate", model, data, "--bootstrap", 0, "--output", output, *options)
    assert result.exit_code == 0, result.output
    return result, json.loads(output.read_text())


def test_tracks_that_were_trained_on_cannot_flatter_in_silence(tuned, folder, tmp_path) -> None:
    output, _ = tuned
    kept = json.loads((output / "training" / "split.json").read_text())
    sizes = Counter(track["split"] for track in kept["tracks"])
    assert kept["tracks"][0]["path"] == "low/0.wav"
    assert sum(sizes.values()) == 24

    # The test part, by itself.
    result, found = evaluate(output, folder, tmp_path / "f.json")
    assert (found["split"], found["figures"]["tracks"]) == ("test", sizes["test"])
    nothing = {"train": 0, "validation": 0, "test": 0, "new": 0, "namesakes": 0}
    assert found["seen"] == {**nothing, "test": sizes["test"]}
    assert found["figures"]["accuracy"] == pytest.approx(
        json.loads((output / "training" / "test.json").read_text())["figures"]["accuracy"]
    )
    assert "Warning" not in result.stderr
    assert "flatter" not in result.stdout
    misspelt = run("evaluate", output, folder, "--split", "tset")
    assert misspelt.exit_code == 2
    assert "unknown split 'tset'; did you mean test?" in misspelt.stderr

    # All, moved and renamed, as a folder and as a table.
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    for path in sorted(moved.glob("*/*.wav")):
        path.rename(path.with_name(f"renamed {path.name}"))
    names = [path.relative_to(moved) for path in sorted(moved.glob("*/*.wav"))]
    rows = [f"{name},{name.parent}" for name in names]
    table = write(moved / "table.csv", "path,tags\n" + "\n".join(rows))
    for data in (moved, table):
        result, found = evaluate(output, data, tmp_path / "f.json", "--split", "all")
        assert found["split"] is None
        assert found["seen"] == {**nothing, **sizes}
        said = f"these figures flatter: the model was trained on {sizes['train']} of the 24 tracks"
        assert f"Warning: {said}" in result.stderr
        assert said in " ".join(result.stdout.split())

    # A table with splits of its own, which are not those of the training.
    rows = [f"{name},{name.parent},{('train', 'test')[n % 2]}" for n, name in enumerate(names)]
    table = write(moved / "own.csv", "path,tags,split\n" + "\n".join(rows))
    result, found = evaluate(output, table, tmp_path / "f.json")
    assert (found["split"], found["figures"]["tracks"]) == ("test", 12)
    assert found["seen"]["train"] > 0
    assert "these figures flatter" in result.stderr

    # With tracks that are new, those are added to the test part.
    shutil.copy(write_tones_with_other_noise(tmp_path / "new") / "top" / "3.wav", moved / "top")
    result, found = evaluate(output, moved, tmp_path / "f.json")
    assert (found["split"], found["seen"]["new"]) == ("unseen", 1)
    assert found["figures"]["tracks"] == sizes["test"] + 1
    assert "1 new to it" in " ".join(result.stdout.split())
    result, found = evaluate(output, tmp_path / "new", tmp_path / "f.json")
    assert (found["split"], found["seen"]["new"]) == ("unseen", 24)


def test_tracks_encoded_anew_are_suspected_by_their_names(tuned, folder, tmp_path) -> None:
    output, _ = tuned
    for path in sorted(folder.glob("*/*.wav")):
        anew = tmp_path / "anew" / path.relative_to(folder).with_suffix(".flac")
        anew.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(anew, *soundfile.read(path))
    result, found = evaluate(output, tmp_path / "anew", tmp_path / "f.json")
    seen = found["seen"]
    _, all_known = evaluate(output, folder, tmp_path / "g.json", "--split", "all")
    learned_from = all_known["seen"]["train"] + all_known["seen"]["validation"]
    assert (seen["new"], seen["namesakes"]) == (24, learned_from)
    said = f"these figures may flatter: {learned_from} of the 24 new tracks have another sound"
    assert f"Warning: {said}" in result.stderr
    assert said in " ".join(result.stdout.split())
    for path in sorted((tmp_path / "anew").glob("*/*.flac")):
        path.rename(path.with_name(f"other {path.name}"))
    result, found = evaluate(output, tmp_path / "anew", tmp_path / "f.json")
    assert (found["seen"]["new"], found["seen"]["namesakes"]) == (24, 0)
    assert "flatter" not in result.output


def write_tones_with_other_noise(root: Path) -> Path:
    root.mkdir()
    write_tones(root)
    for path in root.glob("*/*.wav"):
        samples, rate = soundfile.read(path, dtype="float32")
        soundfile.write(path, samples * 0.9, rate, subtype="FLOAT")
    return root


def test_what_the_base_of_a_fine_tuned_model_has_seen_counts(tuned, folder, tmp_path) -> None:
    output, _ = tuned
    other = write_tones_with_other_noise(tmp_path / "other")
    result = finetune(other, tmp_path / "twice", "--head-epochs", 1, "--trainable", "head",
                      model=output)  # fmt: skip
    assert result.exit_code == 0, result.output
    _, found = evaluate(tmp_path / "twice", folder, tmp_path / "f.json", "--split", "all")
    _, before = evaluate(output, folder, tmp_path / "g.json", "--split", "all")
    assert found["seen"] == before["seen"]
    _, found = evaluate(tmp_path / "twice", other, tmp_path / "f.json")
    assert (found["split"], found["seen"]["train"]) == ("test", 0)


def test_a_split_that_is_not_kept_or_damaged_is_said(tuned, folder, tmp_path) -> None:
    output = Path(shutil.copytree(tuned[0], tmp_path / "copy"))
    kept = output / "training" / "split.json"
    for content, said in (
        ('{"format": 1, "tracks": [{}]}', "split.json: cannot be read (it is damaged)"),
        ('{"format": 2, "tracks": []}', "split.json: has the form 2"),
    ):
        kept.write_text(content)
        result = run("evaluate", output, folder)
        assert result.exit_code == 1
        assert said in result.stderr
    kept.unlink()
    result = run("evaluate", output, folder)
    assert result.exit_code == 2
    assert "has no splits, and none is kept with the model" in result.stderr
    result, found = evaluate(output, folder, tmp_path / "f.json", "--split", "all")
    assert found["seen"] is None
    assert "seen in training: not known" in result.stdout
    result = run("evaluate", output, folder, "--split", "unseen")
    assert "keeps the split of its training" in result.stderr


@pytest.mark.slow
def test_training_from_scratch(folder, tmp_path) -> None:
    options = (
        "--architecture", "dieleman_mel", "--data", folder, "--output", tmp_path / "out",
        "--validation", 0.25, "--test", 0.25, "--batch-size", 4, "--epochs", 2, "--gain", -6, 6,
        "--noise", 10, 30, "--time-shift", 0.5, "--freq-mask", 8, "--time-mask", 8, "--balance",
        "--cache", tmp_path / "cache", "--learning-rate", 1e-4,
    )  # fmt: skip
    result = run("train", *options)
    assert result.exit_code == 0, result.output
    model = musicnn_zoo.load_model(tmp_path / "out")
    assert model.name.endswith("_dieleman_mel")
    settings = json.loads((tmp_path / "out" / "training" / "settings.json").read_text())
    assert settings["augmentation"]["gain_db"] == [-6, 6]
    assert len(list((tmp_path / "cache").glob("*/*.npy"))) == 18


def lines_of(result) -> str:
    assert "Traceback" not in result.output
    return result.stderr


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_bad_data_is_told_in_one_line(folder, tmp_path) -> None:
    """Nothing of this gets as far as training."""
    files = sorted(map(str, folder.glob("*/*.wav")))
    cases = {
        "there is no such": tmp_path / "none.csv",
        r"columns? .*mood": write(
            tmp_path / "columns.csv", f"path,tags,mood\n{files[0]},a,happy\n"
        ),
        "nothing is left": write(tmp_path / "missing.csv", "path,tags\nmissing.wav,a\n"),
        "no subfolders": tmp_path / "empty",
    }
    (tmp_path / "empty").mkdir()
    for pattern, data in cases.items():
        result = finetune(data, tmp_path / "out")
        assert result.exit_code == 2, (pattern, result.output)
        assert re.search(rf"Error: .*{pattern}", lines_of(result)), result.stderr
        assert not (tmp_path / "out").exists()


def test_a_folder_of_broken_files_is_told(tmp_path) -> None:
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(6):
            (tmp_path / "data" / name / f"{number}.wav").write_text("no audio")
    result = finetune(tmp_path / "data", tmp_path / "out")
    assert result.exit_code == 2
    assert re.search(r"Error: .*9 of 9 files cannot be decoded", lines_of(result)), result.stderr


def test_what_was_done_about_odd_data_is_told(folder, tmp_path) -> None:
    """Warnings as lines, each once, then the usual errors or training; here an error ends it."""
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    (data / "silent").mkdir()
    (data / "lonely").mkdir()
    shutil.copy(folder / "low" / "0.wav", data / "lonely" / "0.wav")
    result = finetune(data, tmp_path / "out", "--device", "gpu:9")
    assert result.exit_code == 2
    told = lines_of(result)
    assert re.search(r"Warning: .*1 class without usable audio left out \(silent\)", told)
    assert re.search(r"Warning: .*1 class with a single file, .*\(lonely\)", told)
    assert told.splitlines()[-1].startswith("Error: device 'gpu:9'")
    files = sorted(map(str, folder.glob("*/*.wav")))
    rows = [f"{file},{'Hip Hop' if n % 2 else 'hip-hop'};t{n % 3}" for n, file in enumerate(files)]
    table = write(tmp_path / "tags.csv", "path,tags\n" + "\n".join([*rows, rows[0]]))
    told = lines_of(finetune(table, tmp_path / "out", "--device", "gpu:9"))
    assert re.search(r"1 row left out that repeats", told)
    assert re.search(r"1 tag in several spellings, merged into the most frequent", told)


def test_the_help_has_the_recipe() -> None:
    shown = re.sub(r"\s+", " ", run("train", "--help").stdout)
    for text in ("[default: 0.001; x>0]", "[default: 32; x>=1]", "[default: 1e-05; x>=0]",
                 "[default: 75; x>=1]", "[default: 600; x>=1]"):  # fmt: skip
        assert text in shown


def test_help_loads_no_tensorflow() -> None:
    code = (
        "import sys\nfrom musicnn_zoo.cli import main\n"
        "sys.argv = ['musicnn-zoo', 'finetune', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False False"
