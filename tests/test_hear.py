"""The HEAR 2021 common API: its rules, and what the embeddings are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from musicnn_zoo import (
    ArgumentError,
    AudioError,
    LogMelInput,
    Tagger,
    UnknownNameError,
    WaveformInput,
    WeightsError,
    block,
    build_model,
    hear,
    save_pretrained,
)

TINY = LogMelInput(sample_rate=16000, n_fft=256, hop=128, n_mels=24, f_max=8000)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch):
    monkeypatch.setattr("musicnn_zoo.runtimes.engine._sees_gpu", lambda: False)


@pytest.fixture(scope="module")
def musicnn():
    return hear.load_model(device="cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model that is quick to compute, and embeds in 200 dimensions."""
    model = build_model(input=TINY, frontend="horizontal", patch=20, tags=["a", "b"], name="tiny")
    return save_pretrained(model, tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny(folder):
    return hear.load_model(folder, engine="tensorflow")


def noise(n_sounds=2, seconds=1.0, rate=16000, seed=0):
    shape = (n_sounds, int(seconds * rate))
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def of_tensorflow(audio):
    return tf.constant(audio)


def of_pytorch(audio):
    return pytest.importorskip("torch").tensor(audio, requires_grad=True)


def test_a_model_has_what_the_api_asks_for(musicnn):
    assert isinstance(musicnn, tf.Module)
    assert musicnn.sample_rate == 16000
    for size in (musicnn.scene_embedding_size, musicnn.timestamp_embedding_size):
        assert isinstance(size, int)
        assert size == 200
    assert musicnn.tagger.spec.name == "MTT_musicnn"


@pytest.mark.parametrize("kind", [np.asarray, of_tensorflow, of_pytorch])
def test_tensors_come_back_as_they_went_in(tiny, kind):
    audio = noise()
    given = kind(audio)
    plain = {"audio": tiny.scenes(audio), "times": tiny.timestamps(audio)}
    scenes = hear.get_scene_embeddings(given, tiny)
    embeddings, timestamps = hear.get_timestamp_embeddings(given, tiny)
    for tensor in (scenes, embeddings, timestamps):
        assert type(tensor) is type(given)
        assert tensor.dtype == given.dtype
        assert getattr(tensor, "device", None) == getattr(given, "device", None)
        assert not getattr(tensor, "requires_grad", False)
    np.testing.assert_array_equal(np.asarray(scenes), plain["audio"])
    np.testing.assert_array_equal(np.asarray(embeddings), plain["times"][0])
    np.testing.assert_array_equal(np.asarray(timestamps), plain["times"][1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats_are_taken_and_float32_is_given(tiny, dtype):
    torch = pytest.importorskip("torch")
    audio = noise(1)
    expected = tiny.scenes(audio)
    for given in (tf.cast(audio, dtype), torch.tensor(audio).to(getattr(torch, dtype))):
        scenes = hear.get_scene_embeddings(given, tiny)
        assert scenes.dtype in (tf.float32, torch.float32)
        difference = np.abs(np.asarray(scenes) - expected).max()
        assert difference < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("seconds", [0.02, 1.07, 1.98, 2.0])
@pytest.mark.parametrize("hop_ms", [50.0, 33.3])
def test_timestamps_are_regular_and_cover_the_audio(folder, seconds, hop_ms):
    model = hear.load_model(str(folder), engine="tensorflow", timestamp_hop_ms=hop_ms)
    embeddings, timestamps = hear.get_timestamp_embeddings(noise(3, seconds), model)
    assert embeddings.shape == (*timestamps.shape, model.timestamp_embedding_size)
    assert len(timestamps) == 3
    for times in timestamps:
        np.testing.assert_allclose(times, np.arange(len(times)) * hop_ms, rtol=1e-6)
        assert 1000 * seconds - hop_ms < times[-1] <= 1000 * seconds


def test_the_default_hop_is_what_hear_recommends(tiny):
    _, timestamps = hear.get_timestamp_embeddings(noise(1), tiny)
    assert timestamps[0, 1] == tiny.timestamp_hop_ms == 50
    assert timestamps.dtype == np.float32


def test_scenes_are_the_embeddings_of_a_tagger(musicnn):
    audio = noise(3, 3.5)
    scenes = hear.get_scene_embeddings(audio, musicnn)
    assert scenes.dtype == np.float32
    for sound, scene in zip(audio, scenes, strict=True):
        expected = musicnn.tagger.embed(sound, sample_rate=16000, tail="pad").values
        np.testing.assert_allclose(scene, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(scenes[0] - scenes[1]).max() > 1e-3


@pytest.mark.parametrize("name", ["MTT_musicnn", "MTT_vgg"])
def test_an_embedding_is_that_of_the_patch_around_its_timestamp(name):
    # Patches of 187 frames of 256 samples. Their middles meet the timestamps every 400 ms:
    # patch 7 of those that begin frame by frame is centred on (7 + 93) * 256 samples, 1.6 s.
    model = hear.load_model(name, device="cpu", timestamp_hop_ms=400)
    audio = noise(2, 3.3, seed=3)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    position = timestamps[0].tolist().index(1600)
    tagger = Tagger(name, device="cpu")
    for sound, rows in zip(audio, embeddings, strict=True):
        inner = tagger.embed(sound, sample_rate=16000, hop_s=7 * 0.016 + 0.016, pooling=None)
        assert inner.times[1] == pytest.approx(7 * 0.016)
        np.testing.assert_allclose(rows[position], inner.values[1], rtol=1e-4, atol=1e-5)
        before = np.concatenate([np.zeros(93 * 256, np.float32), sound])
        first = tagger.embed(before, sample_rate=16000, pooling=None)
        np.testing.assert_allclose(rows[0], first.values[0], rtol=1e-4, atol=1e-5)
    assert np.abs(embeddings[0] - embeddings[1]).max() > 1e-3


def test_timestamps_do_not_drift_from_the_samples(tmp_path):
    # 25 ms are 275.625 samples: rounded once for all, the last would be 150 samples off.
    model = build_model(
        input=WaveformInput(11025),
        frontend=block("sample_level", filters=(16, 16, 16, 16), pointwise=None),
        patch=2187,
        tags=["a"],
        name="wave",
    )
    path = save_pretrained(model, tmp_path / "wave")
    loaded = hear.load_model(path, engine="tensorflow", timestamp_hop_ms=25)
    audio = noise(1, 10, 11025)
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, loaded)
    assert timestamps.shape == (1, 401)
    assert loaded.sample_rate == 11025
    penultimate = keras.Model(model.input, model.get_layer("penultimate").output)
    for position in (0, 200, 399, 400):
        start = round(position * 0.025 * 11025) - 2187 // 2
        window = np.zeros(2187, np.float32)
        inside = slice(max(start, 0), start + 2187)
        part = audio[0, inside]
        window[inside.start - start :][: len(part)] = part
        expected = np.asarray(penultimate(window[np.newaxis], training=False))[0]
        np.testing.assert_allclose(embeddings[0, position], expected, rtol=1e-3, atol=1e-5)
    assert np.abs(embeddings[0, 399] - embeddings[0, 400]).max() > 1e-4


def test_sounds_do_not_mix_in_a_batch(tiny):
    audio = noise(5, 0.7)
    together = hear.get_timestamp_embeddings(audio, tiny)[0]
    scenes = hear.get_scene_embeddings(audio, tiny)
    for sound, rows, scene in zip(audio, together, scenes, strict=True):
        alone = hear.get_timestamp_embeddings(sound[np.newaxis], tiny)[0][0]
        np.testing.assert_allclose(rows, alone, rtol=1e-4, atol=1e-5)
        alone = hear.get_scene_embeddings(sound[np.newaxis], tiny)[0]
        np.testing.assert_allclose(scene, alone, rtol=1e-4, atol=1e-5)


def test_no_sounds_give_no_embeddings(tiny):
    nothing = noise(0)
    embeddings, timestamps = hear.get_timestamp_embeddings(nothing, tiny)
    assert embeddings.shape == (0, 21, tiny.timestamp_embedding_size)
    assert timestamps.shape == (0, 21)
    assert hear.get_scene_embeddings(nothing, tiny).shape == (0, tiny.scene_embedding_size)


def test_options_are_those_of_a_tagger():
    options = {"layer": "max_pool", "pooling": "max", "patch_s": 1.0}
    model = hear.load_model(
        "MSD_musicnn", device="cpu", scene_hop_s=0.5, tail="drop", timestamp_hop_ms=400, **options
    )
    audio = noise(1, 1.8)
    (scene,) = hear.get_scene_embeddings(audio, model)
    tagger = Tagger("MSD_musicnn", device="cpu")
    expected = tagger.embed(audio[0], sample_rate=16000, hop_s=0.5, **options).values
    np.testing.assert_allclose(scene, expected, rtol=1e-5, atol=1e-6)
    assert model.scene_embedding_size == model.timestamp_embedding_size == len(expected) == 753
    embeddings, timestamps = hear.get_timestamp_embeddings(audio, model)
    assert timestamps.tolist() == [[0, 400, 800, 1200, 1600]]
    # 61.5 frames are 62: the middle of such a patch lies between two frames.
    begin = round(0.8 * 16000) - (61 * 256 + 512) // 2
    window = audio[0, begin : begin + 61 * 256 + 512]
    activations = tagger.engine_for(("max_pool",)).run(window[np.newaxis], ("max_pool",))[
        "max_pool"
    ]
    np.testing.assert_allclose(embeddings[0, 2], activations[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model_file_path": "MTT_vg"}, UnknownNameError, "'MTT_vg'; did you mean MTT_vgg"),
        ({"model_file_path": "no/such"}, WeightsError, "no/such: there is no such folder"),
        ({"layer": "pool9"}, UnknownNameError, "layer of MTT_vgg 'pool9'; did you mean pool"),
        ({"pooling": None}, ArgumentError, "pooling must be 'mean' or 'max'; received None"),
        ({"pooling": "sum"}, ArgumentError, "pooling must be .* received 'sum'"),
        ({"tail": "keep"}, ArgumentError, "tail must be one of drop, pad; received 'keep'"),
        ({"patch_s": 1.0}, ArgumentError, r"takes patches of 2\.992 s"),
        ({"timestamp_hop_ms": 0}, ArgumentError, r"at least 0\.0625 \(one sample\); received 0"),
        ({"timestamp_hop_ms": np.nan}, ArgumentError, "timestamp_hop_ms must be .* received nan"),
        ({"engine": "abacus"}, ArgumentError, "engine must be one of"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message) as raised:
        hear.load_model(**{"model_file_path": "MTT_vgg"} | arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (np.zeros(16000, np.float32), AudioError, r"\(n_sounds, n_samples\); .* shape \(16000,\)"),
        (tf.zeros((1, 1, 16000)), AudioError, r"received shape \(1, 1, 16000\)"),
        (tf.zeros((1, 16000), tf.int16), AudioError, "between -1 and 1; received int16"),
        (np.zeros((2, 0), np.float32), AudioError, "holds no samples"),
        (np.full((1, 9), np.inf, np.float32), AudioError, "holds NaN or infinite"),
        ([[0.0, 0.0]], ArgumentError, "or a NumPy array; received list"),
        (keras.KerasTensor((1, 16000)), ArgumentError, "that has values.* received KerasTensor"),
    ],
)
def test_other_things_than_sounds_are_refused(tiny, wrong, error, message):
    for function in (hear.get_scene_embeddings, hear.get_timestamp_embeddings):
        with pytest.raises(error, match=message) as raised:
            function(wrong, tiny)
        assert "\n" not in str(raised.value)
