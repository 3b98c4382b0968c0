"""Models on the Hub: what is loaded, what is refused, what is uploaded, and what is said if not."""

import hashlib
import json
import logging
import os
import pickle
import shutil
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from hub_server import Fault, HubServer, hub_environment
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from safetensors.numpy import load, save
from test_downloads import asked, assert_whole, complaint, damage, use
from test_downloads import pytestmark as pytestmark
from torch_state import musicnn_pytorch_state

import musicnn_zoo
from musicnn_zoo import (
    ArgumentError,
    DownloadError,
    Provenance,
    Tagger,
    UploadError,
    WeightsError,
    block,
    build_model,
    load_model,
    push_to_hub,
    save_pretrained,
)
from musicnn_zoo.cli import cli
from musicnn_zoo.files import sha256_of
from musicnn_zoo.networks.architectures import ARCHITECTURES
from musicnn_zoo.zoo import downloads
from musicnn_zoo.zoo.catalogue import PRESETS, VOCABULARIES, HubFile, Preset, WebFile
from musicnn_zoo.zoo.load import Pretrained, find_pretrained

REPO = "tester/model"
NEW = "tester/new"
FILES = {"config.json", "tags.json", "model.safetensors"}
NOISE = np.random.default_rng(0).normal(0, 0.1, (2, 48128)).astype(np.float32)


def small(tags=("calm", "wild", "täg")):
    return build_model(
        frontend=block("rectangular", filters=(2,), pools=((4, 8),)),
        backend=block("temporal_pooling", units=4),
        tags=tags,
        name="small",
    )


def scores(model):
    return np.asarray(model(NOISE))


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def files(model, tmp_path_factory):
    """What a repository with that model holds."""
    return contents(save_pretrained(model, tmp_path_factory.mktemp("model")))


@pytest.fixture
def hub(monkeypatch, tmp_path, files):
    """A Hub with the model; the caches in ``tmp_path`` hold nothing half-written in the end."""
    with HubServer() as server:
        use(server, monkeypatch, tmp_path)
        monkeypatch.setattr(downloads, "PAUSES_S", (0.0, 0.0))
        server.add_repo(REPO, files)
        yield server
    assert_whole(tmp_path)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "clip.wav"
    soundfile.write(path, NOISE[0], 16000, subtype="FLOAT")
    return path


def paths(server):
    """Files of repositories that were asked for."""
    return {request.path.split("/resolve/")[-1].partition("/")[2] for request in server.requests}


# What is loaded


@pytest.mark.platform
def test_a_branch_a_tag_and_a_commit(hub, files, model):
    first = hub.add_repo(REPO, files)
    hub.add_tag(REPO, "v1")
    arrays = load(files["model.safetensors"])
    changed = {**arrays, "logits/bias": arrays["logits/bias"] + 1}
    second = hub.add_repo(REPO, {**files, "model.safetensors": save(changed)})
    tags = b'["a", "b", "c"]'
    third = hub.add_repo(REPO, {**files, "tags.json": tags}, revision="trial/one")
    assert len({first, second, third}) == 3
    for revision, commit in (
        ("main", second), ("v1", first), (first, first), (second, second), ("trial/one", third),
    ):  # fmt: skip
        found = find_pretrained(f"hf://{REPO}@{revision}")
        assert found.origin == f"hf://{REPO}@{commit}"
        assert found.spec.tags == (("a", "b", "c") if commit == third else model.spec.tags)
        assert found.digest() == find_pretrained(f"hf://{REPO}@{commit}").digest()
    assert find_pretrained(f"hf://{REPO}").origin == f"hf://{REPO}@{second}"
    np.testing.assert_array_equal(scores(load_model(f"hf://{REPO}@v1")), scores(model))
    bias = load_model(f"hf://{REPO}").get_layer("logits").bias
    np.testing.assert_array_equal(bias, changed["logits/bias"])


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return Path.touch, (self.place,)


def test_nothing_else_in_the_repository_is_asked_for(hub, files, tmp_path):
    canary = tmp_path / "executed"
    code = f"open({str(canary)!r}, 'w')".encode()
    payload = pickle.dumps(Payload(canary))
    config = json.loads(files["config.json"])
    others = {
        "modeling_small.py": code, "config.py": code, "setup.py": code, "__init__.py": code,
        "model.pkl": payload, "pytorch_model.bin": payload, "weights/model.pt": payload,
        "model.pth": payload, "model.keras": payload, "model.weights.h5": payload,
        "tags.pkl": payload, ".gitattributes": b"*.pt filter=lfs\n",
    }  # fmt: skip
    hub.add_repo(REPO, {**files, **others, "config.json": json.dumps(config).encode()})
    load_model(f"hf://{REPO}")
    assert paths(hub) == FILES | {"thresholds.json"}
    found = {path.name for path in (tmp_path / "hf").glob("hub/*/snapshots/*/*")}
    assert found == FILES
    assert not canary.exists()
    pickle.loads(payload)
    assert canary.exists(), "so that the test could fail"


def test_a_commit_that_was_loaded_is_not_asked_for_again(hub, files):
    commit = hub.add_repo(REPO, files)
    digest = find_pretrained(f"hf://{REPO}@{commit}").digest()
    hub.requests.clear()
    assert find_pretrained(f"hf://{REPO}@{commit}").digest() == digest
    assert hub.requests == []
    assert find_pretrained(f"hf://{REPO}").digest() == digest
    assert [request.method for request in hub.requests] == ["HEAD"]


def test_a_private_repository(hub, files, monkeypatch, tmp_path):
    hub.add_repo("tester/own", files, private=True)
    complaint(
        DownloadError, lambda: load_model("hf://tester/own"), "hf://tester/own@main", "HF_TOKEN"
    )
    use(hub, monkeypatch, tmp_path, token=hub.token)
    hub.requests.clear()
    assert load_model("hf://tester/own").name == "small"
    for request in hub.requests:
        assert request.headers["authorization"] == f"Bearer {hub.token}"
        assert f"musicnn-zoo/{musicnn_zoo.__version__}" in request.headers["user-agent"]


def test_it_is_taken_wherever_a_name_is(hub, model, clip):
    expected = Tagger(model, device="cpu").tag(clip)
    done = run("tag", clip, "--model", f"hf://{REPO}", "--engine", "tensorflow")
    assert (done.exit_code, done.stderr, done.stdout) == (0, "", f"{expected}\n")


# What is not


FAULTS = {
    "no network": (None, "check the network"),
    "busy": (Fault(503), "try again later"),
    "busy, GET": (Fault(503, methods=("GET",)), "try again later"),
    "busy, weights": (Fault(503, path="model.safetensors"), "try again later"),
    "closed": (Fault(hang_up=True), "check the network"),
    "reset": (Fault(hang_up=True, reset=True), "check the network"),
    "cut": (Fault(cut=1000), "check the network"),
    "cut by a reset": (Fault(cut=1000, reset=True), "check the network"),
    "truncated": (Fault(size=1000), "check the network"),
    "slow": (Fault(wait_s=5), "check the network"),
    "a portal": (Fault(200), "log in to the network if it asks for that"),
    "not the Hub's 404": (Fault(404), "check the repository"),
    "forbidden": (Fault(403), "log in"),
}


def strike(hub, fault, monkeypatch, tmp_path):
    if fault == "slow":
        use(hub, monkeypatch, tmp_path, timeout=0.05)
    kind, advice = FAULTS[fault]
    if kind is None:
        hub.down()
    else:
        hub.fail(kind)
    return advice


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_that_names_repository_revision_and_remedy(
    hub, files, fault, monkeypatch, tmp_path
):
    commit = hub.add_repo(REPO, files)
    advice = strike(hub, fault, monkeypatch, tmp_path)
    message = complaint(DownloadError, lambda: load_model(f"hf://{REPO}@main"), advice)
    assert message.startswith((f"hf://{REPO}@main/config.json: ", f"hf://{REPO}@{commit}/"))
    assert_whole(tmp_path)
    hub.up()
    hub.heal()
    found = find_pretrained(f"hf://{REPO}@main")
    assert (found.origin, found.spec.name) == (f"hf://{REPO}@{commit}", "small")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_was_loaded_is_there_in_spite_of_a_fault(
    hub, model, fault, monkeypatch, tmp_path
):
    digest = find_pretrained(f"hf://{REPO}").digest()
    strike(hub, fault, monkeypatch, tmp_path)
    assert find_pretrained(f"hf://{REPO}").digest() == digest
    if fault == "no network":
        np.testing.assert_array_equal(scores(load_model(f"hf://{REPO}")), scores(model))


def test_offline(hub, monkeypatch, tmp_path):
    use(hub, monkeypatch, tmp_path, offline=True)
    complaint(
        DownloadError, lambda: load_model(f"hf://{REPO}"),
        f"hf://{REPO}@main/config.json: ", "HF_HUB_OFFLINE is set", "unset it",
    )  # fmt: skip
    use(hub, monkeypatch, tmp_path)
    digest = find_pretrained(f"hf://{REPO}").digest()
    hub.requests.clear()
    use(hub, monkeypatch, tmp_path, offline=True)
    assert find_pretrained(f"hf://{REPO}").digest() == digest
    assert hub.requests == []


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("tester/none", ("hf://tester/none@main", "no such repository", "check its name")),
        (f"{REPO}@v9", (f"hf://{REPO}@v9", "no such revision", "name a branch, tag or commit")),
        (f"{REPO}@{'0' * 40}", ("@000", "no such revision", "name a branch, tag or commit")),
        ("tester/empty", ("hf://tester/empty@main/config.json", "no such file", "check")),
        ("tester/half", ("hf://tester/half@", "/model.safetensors", "no such file", "check")),
        ("tester/gated", ("hf://tester/gated@main", "gated", "accept its conditions", "log in")),
        ("tester/a--b", ("hf://tester/a--b@main", "no name of a repository", "check it")),
    ],
)
def test_what_is_not_there(hub, files, place, words):
    hub.add_repo("tester/empty", {"README.md": b"# Empty\n"})
    hub.add_repo("tester/half", {name: files[name] for name in ("config.json", "tags.json")})
    hub.fail(status=401, code="GatedRepo", path="/gated/")
    complaint(DownloadError, lambda: load_model(f"hf://{place}"), *words)


@pytest.mark.parametrize(
    "reference",
    [
        "hf://", "hf://model", "hf:///model", "hf://tester/", "hf://tester/model/sub",
        "hf://tester/../model", "hf://../../etc/passwd", "hf://tester/..", "hf://./.",
        "hf://tester/model@../main", "hf://tester/model@a/../../b", "hf://tester/model@..",
        "hf://tester/model@", "hf://tester/model@main@main", "hf://tester/model@@main",
        "hf://tester/my model", "hf://tester/model @main", "hf://tester/model@ma in",
        " hf://tester/model", "hf://tester/model\n", "hf://tester/model@main\n", "hf://te\0ster/m",
        "hf://tester/model@/main", "hf://tester/-model", "hf://-tester/model",
        "hf://tester/model?x=1", "hf://tester/model@main#x", "hf://tester\\model",
        "hf://127.0.0.1:80/a/b", "hf://hf://tester/model", "hf://tester/model@\x1b[2J",
        "hf://tester/m\N{CYRILLIC SMALL LETTER O}del",
    ],
)  # fmt: skip
def test_a_reference_that_is_none(hub, reference):
    kind = (ArgumentError, WeightsError)[reference.startswith(" ")]  # that is a path
    message = complaint(kind, lambda: load_model(reference))
    if kind is ArgumentError:
        assert "hf://user/repository@revision" in message
        assert repr(reference) in message
    assert hub.requests == []


def test_weights_that_are_changed_on_the_way(hub, files, model, tmp_path):
    commit = hub.add_repo(REPO, files)
    hub.fail(changed=-1, path="model.safetensors", times=1)
    np.testing.assert_array_equal(scores(load_model(f"hf://{REPO}")), scores(model))
    assert [r.path.rpartition("/")[2] for r in asked(hub)].count("model.safetensors") == 2
    hub.fail(changed=-1, path="model.safetensors")
    (blob,) = (tmp_path / "hf").rglob("model.safetensors")
    damage(blob)
    message = complaint(WeightsError, lambda: load_model(f"hf://{REPO}"), "SHA-256", "remove ")
    assert message.startswith(f"hf://{REPO}@{commit}/model.safetensors: ")
    assert not list((tmp_path / "hf").rglob("model.safetensors"))


@pytest.mark.parametrize("name", sorted(FILES))
def test_a_damaged_cache_is_mended(hub, name, tmp_path):
    found = find_pretrained(f"hf://{REPO}")
    (place,) = (tmp_path / "hf").rglob(name)
    damage(place)
    hub.requests.clear()
    assert find_pretrained(f"hf://{REPO}").digest() == found.digest()
    assert [request.path.rpartition("/")[2] for request in asked(hub)] == [name]


def test_a_damaged_cache_without_a_network(hub, monkeypatch, tmp_path):
    find_pretrained(f"hf://{REPO}")
    (place,) = (tmp_path / "hf").rglob("model.safetensors")
    damage(place)
    use(hub, monkeypatch, tmp_path, offline=True)
    complaint(
        DownloadError, lambda: load_model(f"hf://{REPO}"),
        f"hf://{REPO}@", "/model.safetensors: it is not in the cache", "unset it",
    )  # fmt: skip


def test_commits_are_not_mixed(hub, files):
    first = hub.add_repo(REPO, files)
    before = find_pretrained(f"hf://{REPO}").digest()
    changed = save({**load(files["model.safetensors"]), "logits/bias": np.ones(3, np.float32)})
    second = hub.add_repo(REPO, {**files, "model.safetensors": changed})
    hub.fail(status=503, path="model.safetensors")
    complaint(DownloadError, lambda: load_model(f"hf://{REPO}"), f"@{second}/model.safetensors: ")
    assert find_pretrained(f"hf://{REPO}@{first}").digest() == before
    hub.heal()
    assert find_pretrained(f"hf://{REPO}").digest() != before


# A stranger's repository


@pytest.fixture(scope="module")
def stranger(files, tmp_path_factory):
    """A Hub for all that is refused, with one cache, which saves time."""
    root = tmp_path_factory.mktemp("stranger")
    with pytest.MonkeyPatch.context() as patch, HubServer() as server:
        use(server, patch, root)
        server.add_repo(REPO, files)
        yield server
    assert_whole(root)


def refusal(hub, files, call=load_model, **changed):
    """What is said of a repository in which files are replaced."""
    endings = {"config": "config.json", "tags": "tags.json", "weights": "model.safetensors"}
    replaced = {endings[name]: content for name, content in changed.items()}
    commit = hub.add_repo(REPO, {**files, **replaced})
    message = complaint(WeightsError, lambda: call(f"hf://{REPO}"))
    (name,) = replaced
    assert message.startswith(f"hf://{REPO}@{commit}") or f"/{commit}/{name}: " in message
    return message


def with_entry(files, *keys, value):
    """config.json with one entry set."""
    config = json.loads(files["config.json"])
    inner = config
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return json.dumps(config).encode()


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("model", "frontend"), {"kind": "os.system"}, "unknown frontend 'os.system'"),
        (("model", "frontend"), {"kind": "temporal_pooling"}, "unknown frontend"),
        (("model", "backend"), {"kind": "../../evil"}, "unknown backend"),
        (("model", "frontend"), {"kind": "vgg", "evil": 1}, "option of frontend 'vgg' 'evil'"),
        (("model", "frontend"), {"kind": "vgg", "n_tags": 1}, "unknown option"),
        (("model", "frontend"), {"kind": "vgg", "x": 1}, "unknown option"),
        (("model", "frontend"), {"kind": "vgg", "filters": "many"}, "frontend 'vgg' cannot"),
        (("model", "frontend"), {"kind": "vgg", "filters": {"a": [{}]}}, "received {'a': [{}]}"),
        (("model", "frontend"), {"kind": ["vgg"]}, "needs a 'kind'"),
        (("model", "frontend"), "vgg", "needs a 'kind'"),
        (("model", "frontend"), [[[]]], "needs a 'kind'"),
        (("model", "frontend"), None, "refused"),
        (("model", "midend"), {"kind": "vgg"}, "unknown midend"),
        (("model", "input"), {"kind": "file", "path": "/etc/passwd"}, "unknown input 'file'"),
        (("model", "input"), {"kind": [[]]}, "refused"),
        (("model", "input"), [], "must be an object"),
        (("model", "input", "evil"), 1, "unknown LogMelInput entry 'evil'"),
        (("model", "input", "mel_scale"), {"a": []}, "mel_scale must be one of"),
        (("model", "input", "shorter_windows"), 5, "refused"),
        (("model", "evil"), 1, "unknown ModelConfig entry 'evil'"),
        (("model", "patch"), "187", "refused"),
        (("model", "patch"), -1, "patch must be at least 1"),
        (("model", "activation"), "eval", "activation must be"),
        (("model",), [], "must be an object"),
        (("auto_map",), {"AutoModel": "modeling_small.Small"}, "unknown entry 'auto_map'"),
        (("name",), "../..", "the name of a model must be"),
        (("name",), "/etc/passwd", "the name of a model must be"),
        (("name",), "a\nb", "the name of a model must be"),
        (("name",), None, "the name of a model must be"),
        (("name",), ["small"], "the name of a model must be"),
        (("format",), 2, "pip install --upgrade musicnn-zoo"),
        (("format",), 10**30, "pip install --upgrade musicnn-zoo"),
        (("format",), 0, "must be a number from 1 on"),
        (("format",), "1", "must be a number from 1 on"),
        (("format",), None, "must be a number from 1 on"),
        (("sample_rate",), 44100, "sample_rate is 44100, and the model's input has 16000"),
        (("provenance",), [], "must be an object"),
        (("provenance", "evil"), "", "unknown Provenance entry 'evil'"),
        (("provenance", "license"), {"a": 1}, "must be a string"),
        (("provenance", "metrics"), {"roc_auc": "high"}, "must be numbers"),
        (("provenance", "metrics"), {"roc_auc": True}, "must be numbers"),
        (("provenance", "metrics"), {"roc_auc": 10**400}, "must be numbers"),
        (("model", "patch"), 187.5, "patch must be a whole number"),
        (("model", "patch"), True, "patch must be a whole number"),
        (("model", "patch"), 10**400, "patch must be at most"),
        (("model", "patch"), 2**27, "samples long"),
        (("model", "input", "n_fft"), 2**24, "n_fft must be at most"),
        (("model", "input", "sample_rate"), 10**400, "sample_rate must be at most"),
        (("model", "input", "bn_epsilon"), 10**400, "bn_epsilon must be"),
        (("model", "input", "shorter_windows"), [16] * 1000, "shorter_windows must be at most"),
        (("model", "frontend", "filters"), [200_000], "more weights than there are"),
        (("model", "frontend", "filters"), [10**30], "filters must be a list of a whole number"),
        (("model", "frontend", "filters"), [True], "filters must be a list of a whole number"),
        (("model", "frontend", "pools"), [[2, 2.0]], "pools must be"),
        (("model", "frontend", "order"), "backwards", "order must be one of relu_bn"),
        (("model", "backend", "units"), 2**24, "more weights than there are"),
        (("model", "backend"), {"kind": "recurrent", "cell_units": 1, "depth": 10**6},
         "more weights than there are"),
    ],
)  # fmt: skip
def test_a_configuration_that_is_refused(stranger, files, keys, value, words):
    message = refusal(stranger, files, config=with_entry(files, *keys, value=value))
    assert "refused: " in message
    assert words in message


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"3", b'"small"', b"[]", b"{}", b"{", b"\xff\xfe\x00", b"\x80\x04N.",
        b'{"format": 1}', b'{"format": 1, "name": "small"}',
        b'{"format": 1, "name": "small", "model": ' + b'{"input": ' * 10**5 + b"}" * 10**5 + b"}",
        b"[" * 10**5,
        b'{"format": ' + b"9" * 5000 + b"}",
        b'{"format": NaN}', b'{"format": 1e999}', b'{"format": 1, "format": 1}', b" " * (2**20 + 1),
    ],
    ids=range(18),
)  # fmt: skip
def test_a_configuration_that_is_none(stranger, files, content):
    refusal(stranger, files, config=content)


@pytest.mark.parametrize("depth", [100, 450, 900])
@pytest.mark.parametrize("keys", [("model", "frontend", "filters"), ("model", "input"), ("model",)])
def test_a_configuration_that_is_nested(stranger, files, keys, depth):
    marked = with_entry(files, *keys, value="here")
    refusal(stranger, files, config=marked.replace(b'"here"', b"[" * depth + b"]" * depth))


@pytest.mark.parametrize(
    "content",
    [
        b"", b"null", b"3", b'"abc"', b"{}", b'{"a": 0, "b": 1, "c": 2}', b"[]", b"[[]]",
        b"[1, 2, 3]", b'["a", "b", 3]', b'["a", "b", ""]', b'["a", "b", "a"]', b'["a", "b", null]',
        b'["a", NaN]', json.dumps([str(number) for number in range(10**5 + 1)]).encode(),
        b'[["a"], "b", "c"]', b'["a", "b", "c"', b"\xff\xfe", b"[" * 10**5,
    ],
    ids=range(19),
)  # fmt: skip
def test_tags_that_are_no_list_of_different_strings(stranger, files, content):
    assert "tags.json" in refusal(stranger, files, tags=content)


@pytest.mark.parametrize("tags", [["a", "b"], ["a", "b", "c", "d"]])
def test_tags_that_are_too_few_or_too_many(stranger, files, tags):
    commit = stranger.add_repo(REPO, {**files, "tags.json": json.dumps(tags).encode()})
    message = complaint(WeightsError, lambda: load_model(f"hf://{REPO}"), "logits/kernel")
    assert message.startswith(f"hf://{REPO}@{commit}/model.safetensors: ")


def safetensors(header, data=b""):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.fixture
def putting(model):
    """Puts weights into a model, which has its own in the end if they are refused."""
    before = model.get_weights()
    yield lambda place: find_pretrained(place).weights.put(model)
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_weights_that_do_not_fit(stranger, files, putting):
    arrays = load(files["model.safetensors"])
    lacking = {name: value for name, value in arrays.items() if name != "logits/kernel"}
    for changed, words in (
        ({**arrays, "logits/kernel": np.zeros((4, 5), np.float32)}, "must have the shape (4, 3)"),
        ({**arrays, "logits/kernel": np.zeros((3, 4), np.float32)}, "received (3, 4)"),
        ({**arrays, "logits/kernel": np.zeros((), np.float32)}, "received ()"),
        (lacking, "logits/kernel is missing"),
        ({**arrays, "evil/kernel": np.zeros(1)}, "evil/kernel has no place"),
        ({}, "is missing"),
        ({**arrays, "logits/bias": np.zeros(3, np.int32)}, "must hold floating-point numbers"),
        ({**arrays, "logits/bias": np.zeros(3, bool)}, "received bool"),
        ({**arrays, "logits/bias": np.array([0, np.nan, 0], np.float32)}, "logits/bias has NaN or"),
        ({**arrays, "logits/bias": np.array([0, 1e300, 0])}, "logits/bias has NaN or infinite"),
        ({**arrays, "input_bn/moving_variance": -np.ones(1, np.float32)}, "must not be negative"),
    ):
        assert words in refusal(stranger, files, putting, weights=save(changed))


def test_weights_that_are_none(stranger, files, putting, tmp_path):
    good = files["model.safetensors"]
    canary = tmp_path / "executed"
    one = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    for content in (
        b"", good[:4], good[:8], good[:100], good[: len(good) // 2], good[:-1], good + b"x",
        pickle.dumps(Payload(canary)), b"\x89HDF\r\n\x1a\n", b"PK\x03\x04",
        struct.pack("<Q", 2**63) + b"{}", struct.pack("<Q", 10) + b"not a JSON",
        safetensors([]), safetensors({"a": {**one, "data_offsets": [0, 2**60]}}, bytes(4)),
        safetensors({"a": one, "b": one}, bytes(4)),
        safetensors({"a": {**one, "shape": [2**62, 8]}}, bytes(4)),
        safetensors({"a": {**one, "dtype": "EVIL"}}, bytes(4)),
    ):  # fmt: skip
        assert "model.safetensors: " in refusal(stranger, files, putting, weights=content)
    assert not canary.exists()


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("n_fft", "512"), ("n_fft", 0), ("n_mels", None), ("n_mels", -1), ("n_mels", 1.5),
        ("hop", "256"), ("hop", 0), ("f_min", []), ("sample_rate", float("inf")),
        ("bn_epsilon", "x"), ("shorter_windows", [1, 2]),
    ],
)  # fmt: skip
def test_an_input_of_the_wrong_type(stranger, files, entry, value):
    refusal(stranger, files, config=with_entry(files, "model", "input", entry, value=value))


def test_a_name_in_the_weights_that_is_no_line(stranger, files, putting):
    arrays = load(files["model.safetensors"])
    refusal(stranger, files, putting, weights=save({**arrays, "evil\n\x1b[2Jkernel": np.zeros(1)}))


def test_numbers_of_a_type_that_numpy_lacks(stranger, files, putting):
    eighth = {"a": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}
    refusal(stranger, files, putting, weights=safetensors(eighth, b"\0"))


# Presets


@pytest.fixture(scope="module")
def row():
    """Of a small model in the table of models, of which the sources are to be filled in."""
    built = small(tags=VOCABULARIES["MTT"])
    architecture = replace(ARCHITECTURES["vgg"], config=built.zoo_config)
    return Preset("small", architecture, "MTT", (), None, Provenance()), built


@pytest.fixture
def listed(row, monkeypatch):
    """Put the small model into the table, with the source that a call gives it."""

    def put(source):
        monkeypatch.setitem(PRESETS, "small", replace(row[0], sources=(source,)))
        return row[1]

    return put


def arrays(model):
    return {weight.path: np.asarray(weight) for weight in model.weights}


def on_the_hub(hub, content, path="model.safetensors", pinned=True):
    """A file in a repository of other people."""
    commit = hub.add_repo("other/models", {path: content, "load.py": b"1 / 0"})
    digest = hashlib.sha256(content).hexdigest() if pinned else None
    return HubFile("other/models", commit, path, digest)


def assert_same(loaded, expected):
    for ours, theirs in zip(loaded.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def converted(tmp_path):
    return list((tmp_path / "zoo" / "weights").glob("*.weights.h5"))


def test_musicnn_from_the_hub_under_the_names_of_pytorch(hub, monkeypatch):
    expected = load_model("MTT_musicnn")
    file = on_the_hub(hub, save(musicnn_pytorch_state(expected)))
    preset = PRESETS["MTT_musicnn"]
    monkeypatch.setitem(PRESETS, "MTT_musicnn", replace(preset, sources=(preset.sources[0], file)))
    loaded = load_model("MTT_musicnn", source="hub")
    assert_same(loaded, expected)
    np.testing.assert_array_equal(scores(loaded), scores(expected))
    assert paths(hub) == {"model.safetensors"}


@pytest.mark.parametrize("pinned", [True, False])
def test_what_was_converted_is_kept(hub, listed, pinned, tmp_path, caplog):
    expected = listed(None)
    expected = listed(on_the_hub(hub, save(arrays(expected)), pinned=pinned))
    assert_same(load_model("small"), expected)
    assert find_pretrained("small").digest() == hashlib.sha256(save(arrays(expected))).hexdigest()

    hub.requests.clear()
    (kept,) = converted(tmp_path)
    (cached,) = (tmp_path / "hf").rglob("model.safetensors")
    damage(cached)
    assert_same(load_model("small", source="hub"), expected)
    assert hub.requests == []

    damage(kept, at=kept.stat().st_size // 2)
    with caplog.at_level(logging.WARNING):
        assert_same(load_model("small"), expected)
    assert "is damaged; converting the weights again" in caplog.text
    assert len(asked(hub)) == 1, "the download was damaged too"

    note = kept.with_suffix(".json")
    note.write_bytes(b'{"sha256": 1')
    hub.down()
    assert_same(load_model("small"), expected)
    assert json.loads(note.read_text())["sha256"] == sha256_of(kept)


def test_a_preset_whose_graph_is_kept_needs_no_network(hub, listed, monkeypatch, tmp_path, clip):
    listed(on_the_hub(hub, save(arrays(listed(None))), pinned=False))
    expected = Tagger("small", engine="onnxruntime").tag(clip)
    digest = find_pretrained("small").digest()
    shutil.rmtree(tmp_path / "hf")
    shutil.rmtree(tmp_path / "zoo" / "weights")
    hub.requests.clear()
    use(hub, monkeypatch, tmp_path, offline=True)
    monkeypatch.setattr(Pretrained, "load", lambda self: pytest.fail("loaded"))
    assert find_pretrained("small").digest() == digest
    assert dict(Tagger("small", engine="onnxruntime").tag(clip)) == dict(expected)
    assert hub.requests == []


UNREACHABLE = """
import sys
import musicnn_zoo
from musicnn_zoo.zoo import downloads
downloads.PAUSES_S = (0, 0)
def loads(model, **options): return lambda: musicnn_zoo.Tagger(model, **options)
for name in ("MTT_fcn", "MSD_musicnn_big"):
    for load in (
        loads(name), loads(name, engine="onnxruntime"), loads(name, engine="tensorflow"),
        lambda: musicnn_zoo.load_model(name),
        lambda: musicnn_zoo.export_model(name, "model.onnx"),
        lambda: musicnn_zoo.learned_filters(name),
    ):
        try:
            load()
        except musicnn_zoo.DownloadError as error:
            print(error)
print([name for name in ("keras", "tensorflow", "kapre", "librosa") if name in sys.modules])
"""


@pytest.mark.parametrize("offline", [True, False])
def test_that_a_preset_cannot_be_had_is_said_before_keras_is_imported(hub, offline, tmp_path):
    hub.down()
    environment = {
        **os.environ, **hub_environment(hub, tmp_path / "hf", offline=offline),
        "https_proxy": hub.endpoint, "MUSICNN_ZOO_CACHE": str(tmp_path / "zoo"),
        "PYTHONPATH": str(Path(musicnn_zoo.__file__).parent.parent),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", UNREACHABLE], env=environment, cwd=tmp_path, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    *lines, imported = done.stdout.splitlines()
    assert (len(lines), imported) == (12, "[]")
    for line in lines:
        assert ("HF_HUB_OFFLINE is set" if offline else "no connection to ") in line


def test_a_preset_from_the_web(hub, listed, tmp_path):
    content = save(arrays(listed(None)))
    url = hub.add_file("m/w.safetensors", content)
    expected = listed(WebFile(url, hashlib.sha256(content).hexdigest()))
    hub.fail(changed=-1, times=1)
    assert_same(load_model("small"), expected)
    assert len(asked(hub)) == 2
    assert len(converted(tmp_path)) == 1


@pytest.mark.parametrize("fault", ["busy", "busy, GET", "cut by a reset", "a portal"])
def test_a_preset_that_cannot_be_had(hub, listed, fault, monkeypatch, tmp_path):
    file = on_the_hub(hub, bytes(10_000))
    listed(file)
    advice = strike(hub, fault, monkeypatch, tmp_path)
    message = complaint(DownloadError, lambda: load_model("small", source="hub"), advice)
    assert message.startswith(f"hf://other/models@{file.revision}/model.safetensors: ")
    assert converted(tmp_path) == []


def test_a_preset_that_is_another_file(hub, listed, tmp_path):
    file = on_the_hub(hub, save(arrays(listed(None))))
    listed(file)
    hub.fail(changed=-1)
    message = complaint(WeightsError, lambda: load_model("small"), file.sha256, "try again")
    assert message.startswith(f"{file.address}: ")
    assert converted(tmp_path) == []
    assert not list((tmp_path / "hf").rglob("model.safetensors"))


def test_a_preset_that_does_not_fit(hub, files, listed, tmp_path):
    file = on_the_hub(hub, files["model.safetensors"])
    listed(file)
    message = complaint(WeightsError, lambda: load_model("small"), "do not fit")
    assert f"{file.revision}/model.safetensors: " in message
    assert converted(tmp_path) == []


def test_a_preset_without_a_folder_to_keep_it_in(hub, listed, monkeypatch, tmp_path, caplog):
    expected = listed(on_the_hub(hub, save(arrays(listed(None)))))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MUSICNN_ZOO_CACHE", str(tmp_path / "file" / "zoo"))
    with caplog.at_level(logging.WARNING):
        assert_same(load_model("small"), expected)
    assert "converted weights cannot be kept" in caplog.text


@pytest.mark.torch
def test_a_preset_of_pytorch(hub, listed, tmp_path):
    import torch

    expected = listed(None)
    state = {name: torch.tensor(value) for name, value in arrays(expected).items()}
    payload = {**state, "evil": Payload(tmp_path / "executed")}
    for content, name in ((state, "good.pt"), (payload, "evil.pt")):
        torch.save(content, tmp_path / name)
        file = on_the_hub(hub, (tmp_path / name).read_bytes(), f"weights/{name}", pinned=False)
        listed(file)
        if name == "good.pt":
            assert_same(load_model("small"), expected)
            continue
        message = complaint(WeightsError, lambda: load_model("small"), "weights_only=True")
        assert f"{file.revision}/weights/evil.pt: refused" in message
    assert not (tmp_path / "executed").exists()
    assert len(converted(tmp_path)) == 1


# Uploads


@pytest.fixture
def logged_in(hub, monkeypatch, tmp_path):
    use(hub, monkeypatch, tmp_path, token=hub.token)


@pytest.mark.platform
@pytest.mark.usefixtures("logged_in")
def test_what_is_uploaded_loads_back(hub, monkeypatch):
    model = small()
    provenance = Provenance(trained_on="ten songs", license="MIT")
    first = push_to_hub(model, NEW, provenance=provenance)
    assert first.startswith(f"hf://{NEW}@")
    assert set(hub.files(NEW)) == {*FILES, "README.md", ".gitattributes"}
    assert f"hf://{NEW}".encode() in hub.files(NEW)["README.md"]
    loaded = load_model(f"hf://{NEW}")
    np.testing.assert_array_equal(scores(loaded), scores(model))
    assert (loaded.spec, loaded.provenance) == (model.spec, provenance)
    for request in hub.requests:
        assert f"musicnn-zoo/{musicnn_zoo.__version__}" in request.headers["user-agent"]

    before = scores(model)
    model.get_layer("logits").bias.assign([1, 2, 3])
    second = push_to_hub(model, f"hf://{NEW}", message="Better")
    assert second != first
    np.testing.assert_array_equal(scores(load_model(f"hf://{NEW}")), scores(model))
    np.testing.assert_array_equal(scores(load_model(second)), scores(model))
    np.testing.assert_array_equal(scores(load_model(first)), before)
    assert sum("/commit/" in request.path for request in hub.requests) == 2


@pytest.mark.usefixtures("logged_in")
def test_what_the_new_model_lacks_goes_and_what_is_not_ours_stays(hub, files):
    model = small()
    hub.add_repo(NEW, {**files, "LICENSE": b"of the old one", "thresholds.json": b"{}", "x": b"x"})
    push_to_hub(model, NEW)
    assert set(hub.files(NEW)) - {".gitattributes"} == {*FILES, "README.md", "x"}
    assert sum("/commit/" in request.path for request in hub.requests) == 1
    model.provenance = Provenance(notice="of the new one")
    push_to_hub(model, NEW)
    assert hub.files(NEW)["LICENSE"] == b"of the new one"


def test_an_upload_that_is_private_and_to_a_branch(hub, model, monkeypatch, tmp_path):
    push_to_hub(model, NEW, private=True, token=hub.token)
    complaint(DownloadError, lambda: load_model(f"hf://{NEW}"), "private", "HF_TOKEN")
    hub.add_repo(NEW, {".gitattributes": b""}, revision="trial", private=True)
    place = push_to_hub(model, NEW, revision="trial", private=True, token=hub.token)
    assert hub.files(NEW, "trial").keys() >= FILES
    use(hub, monkeypatch, tmp_path, token=hub.token)
    assert find_pretrained(f"hf://{NEW}@trial").origin == place


def test_a_token_that_is_given(hub, model):
    assert push_to_hub(model, NEW, token=hub.token).startswith(f"hf://{NEW}@")
    assert load_model(f"hf://{NEW}").spec == model.spec


@pytest.mark.parametrize("repo", [NEW, REPO])
@pytest.mark.parametrize("status", [401, 403])
def test_who_may_not_upload(hub, files, model, repo, status):
    hub.fail(status=status, message="You have no right to it.", methods=("POST",))
    complaint(
        UploadError, lambda: push_to_hub(model, repo),
        f"hf://{repo}@main: ", "refuses access", "log in", "set HF_TOKEN", "right",
    )  # fmt: skip
    assert hub.files(REPO) == dict(sorted(files.items()))
    with pytest.raises(KeyError):
        hub.files(NEW)


UPLOAD_FAULTS = {
    "no network": (None, "check the network"),
    "busy": (Fault(503), "try again later"),
    "busy, commit": (Fault(503, path="/commit/"), "try again later"),
    "busy, preupload": (Fault(500, path="/preupload/"), "try again later"),
    "too many requests": (Fault(429, path="/commit/"), "try again later"),
    "closed": (Fault(hang_up=True), "check the network"),
    "closed, commit": (Fault(hang_up=True, path="/commit/"), "check the network"),
    "reset, commit": (Fault(hang_up=True, reset=True, path="/commit/"), "check the network"),
    "not accepted": (
        Fault(400, message="Invalid metadata in README.md.", path="/commit/"),
        "Invalid metadata in README.md.",
    ),
    "in the way": (
        Fault(412, message="A commit has happened since.", path="/commit/"),
        "A commit has happened since.",
    ),
    "not the Hub": (Fault(404), "check the names"),
}


@pytest.mark.usefixtures("logged_in")
@pytest.mark.parametrize("fault", UPLOAD_FAULTS)
def test_an_upload_that_fails(hub, files, model, fault):
    kind, advice = UPLOAD_FAULTS[fault]
    if kind is None:
        hub.down()
    else:
        hub.fail(kind)
    message = complaint(UploadError, lambda: push_to_hub(model, REPO), advice)
    assert message.startswith(f"hf://{REPO}@main: ")
    assert "download" not in message
    assert hub.files(REPO) == dict(sorted(files.items()))
    hub.up()
    hub.heal()
    push_to_hub(model, REPO)


@pytest.mark.usefixtures("logged_in")
def test_an_upload_to_the_storage_that_fails(hub, model, monkeypatch):
    """Which huggingface_hub wraps in an error of its own."""

    def storage(status):
        def upload(*_, **__):
            response = SimpleNamespace(status_code=status, headers={}, request=None)
            try:
                raise HfHubHTTPError("busy", response=response) if status else OSError("reset")
            except Exception as error:
                raise RuntimeError("Error while uploading 'model.safetensors'.") from error

        return upload

    for status, advice in ((503, "try again later"), (None, "check the network")):
        monkeypatch.setattr(HfApi, "create_commit", storage(status))
        message = complaint(UploadError, lambda: push_to_hub(model, REPO), advice)
        assert message.startswith(f"hf://{REPO}@main: ")
        assert "download" not in message


@pytest.mark.usefixtures("logged_in")
def test_an_upload_to_a_branch_that_is_not_there(hub, model):
    complaint(
        UploadError, lambda: push_to_hub(model, REPO, revision="none"),
        f"hf://{REPO}@none: ", "no such branch", "name one",
    )  # fmt: skip


def test_an_upload_offline(hub, model, monkeypatch, tmp_path):
    use(hub, monkeypatch, tmp_path, token=hub.token, offline=True)
    complaint(
        UploadError, lambda: push_to_hub(model, REPO),
        f"hf://{REPO}@main: HF_HUB_OFFLINE is set", "unset it to upload",
    )  # fmt: skip
    assert hub.requests == []


@pytest.mark.usefixtures("logged_in")
@pytest.mark.parametrize(
    "repo", ["model", "", "a/b/c", "../model", "tester/my model", f"{REPO}@v1", f"hf://{REPO}@v1"]
)
def test_an_upload_to_what_is_no_repository(hub, model, repo):
    complaint(ArgumentError, lambda: push_to_hub(model, repo), repr(repo))
    assert hub.requests == []


@pytest.mark.usefixtures("logged_in")
def test_an_upload_to_a_name_that_the_hub_does_not_allow(hub, model):
    complaint(UploadError, lambda: push_to_hub(model, "tester/a--b"), "check it", "a--b")
    assert hub.requests == []


# The command line


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def one_line(result, code=1):
    """What a command that failed says, which is one line."""
    assert result.exit_code == code
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    (line,) = result.stderr.splitlines()[-1:] if code == 2 else result.stderr.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_command_says_it_in_one_line(hub, fault, clip, monkeypatch, tmp_path):
    advice = strike(hub, fault, monkeypatch, tmp_path)
    line = one_line(run("tag", clip, "--model", f"hf://{REPO}@main"))
    assert line.startswith(f"hf://{REPO}@")
    assert advice in line


@pytest.mark.parametrize(
    "command", [("tag",), ("taggram",), ("embed", "-o", "out.npz"), ("tag", "-o", "out.jsonl")]
)
def test_so_does_every_command(hub, clip, command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for model, words in (
        ("hf://tester/none", "check its name"),
        (f"hf://{REPO}@v9", "name a branch"),
        ("hf://tester/gated", "log in"),
    ):
        hub.fail(status=401, code="GatedRepo", path="/gated/")
        line = one_line(run(*command, clip, "--model", model))
        assert line.startswith(f"{model}{'' if '@' in model else '@main'}/config.json: ")
        assert words in line
    assert not list(tmp_path.glob("out*"))


def test_a_command_with_a_model_that_is_refused(hub, files, clip):
    hub.add_repo(REPO, {**files, "config.json": with_entry(files, "auto_map", value={})})
    assert "unknown entry 'auto_map'" in one_line(run("tag", clip, "--model", f"hf://{REPO}"))
    hub.add_repo(REPO, {**files, "model.safetensors": b"\x80\x04N."})
    line = one_line(run("tag", clip, "--model", f"hf://{REPO}", "--engine", "tensorflow"))
    assert "model.safetensors: this is no safetensors file" in line


@pytest.mark.parametrize("reference", ["hf://model", "hf://../..", "hf://a/b@c@d", "hf://a b/c"])
def test_a_command_with_a_reference_that_is_none(hub, clip, reference):
    line = one_line(run("tag", clip, "--model", reference), code=2)
    assert "hf://user/repository@revision" in line
    assert hub.requests == []


@pytest.mark.parametrize("source", ["hub", "web"])
def test_a_command_with_a_preset_that_cannot_be_had(hub, clip, source, listed):
    if source == "hub":
        file, advice = HubFile(REPO, "main", "weights/none.pt"), "no such file; check"
    else:
        file, advice = WebFile(f"{hub.endpoint}/none.pth", "0" * 64), "pip install --upgrade"
    listed(file)
    line = one_line(run("tag", clip, "--model", "small", "--engine", "tensorflow"))
    assert line.startswith(f"{file.address}: ")
    assert advice in line


def test_a_traceback_is_shown_when_it_is_asked_for(hub, clip):
    result = run("tag", clip, "--model", "hf://tester/none", "--traceback")
    assert isinstance(result.exception, DownloadError)


def test_a_command_in_a_process_of_its_own(hub, clip, tmp_path):
    environment = hub_environment(hub, tmp_path / "hf")
    package = str(Path(musicnn_zoo.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "musicnn_zoo", "tag", clip, "--model", "hf://tester/none"],
        env={
            **os.environ, **environment,
            "MUSICNN_ZOO_CACHE": str(tmp_path / "zoo"), "PYTHONPATH": package,
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: hf://tester/none@main/config.json: there is no such repository")
