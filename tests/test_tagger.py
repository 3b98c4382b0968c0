from concurrent.futures import ThreadPoolExecutor

import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from helpers_audio import HARPSICHORD, STRINGS, TECHNO, chirps

import musicnn_zoo
from musicnn_zoo import Tagger, build_model
from musicnn_zoo.errors import ArgumentError, AudioError, DeviceError, UnknownNameError
from musicnn_zoo.networks.config import LogMelInput, ModelConfig, block

MODELS = ["MTT_musicnn", "MTT_vgg"]
MUSICNN_SHAPES = {
    "timbral": (187, 408),
    "temporal": (187, 153),
    "cnn1": (187, 64),
    "cnn2": (187, 64),
    "cnn3": (187, 64),
    "mean_pool": (753,),
    "max_pool": (753,),
    "penultimate": (200,),
}


@pytest.fixture(scope="module")
def taggers():
    return {name: Tagger(name) for name in MODELS}


@pytest.fixture(scope="module")
def musicnn(taggers):
    return taggers["MTT_musicnn"]


@pytest.fixture(scope="module")
def vgg(taggers):
    return taggers["MTT_vgg"]


@pytest.fixture(scope="module")
def excerpt(tmp_path_factory):
    """Ten seconds: three patches and a rest of 65 frames."""
    path = tmp_path_factory.mktemp("audio") / "excerpt.wav"
    signal, _ = librosa.load(TECHNO, sr=16000, duration=10)
    soundfile.write(path, signal, 16000, subtype="FLOAT")
    return path


def windows_of(path, hop=187):
    """Cut by hand: 187 frames of a centred STFT every ``hop`` frames."""
    signal, _ = librosa.load(path, sr=16000)
    padded = np.pad(signal, 256)
    starts = range(0, len(padded) - 48128 + 1, hop * 256)
    return np.stack([padded[start : start + 48128] for start in starts])


def assert_same_tags(first, second, tolerance=1e-5):
    scores = dict(second.ranked)
    assert {tag for tag, _ in first} == set(scores)
    for tag, score in first:
        assert score == pytest.approx(scores[tag], abs=tolerance)


@pytest.mark.platform
@pytest.mark.parametrize(
    ("clip", "expected"),
    [
        (HARPSICHORD, {"harpsichord", "classical"}),
        (STRINGS, {"classical", "strings"}),
        (TECHNO, {"techno", "electronic"}),
    ],
    ids=["harpsichord", "strings", "techno"],
)
@pytest.mark.parametrize("model", MODELS)
def test_the_shipped_clips_are_recognised(taggers, model, clip, expected):
    assert expected <= set(taggers[model].tag(clip).names)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("clip", [HARPSICHORD, STRINGS], ids=lambda clip: clip.stem)
def test_a_taggram_is_what_the_bare_model_says_of_windows_cut_by_hand(taggers, model, clip):
    tagger = taggers[model]
    expected = tagger.model(windows_of(clip), training=False).numpy()
    taggram = tagger.taggram(clip)
    np.testing.assert_allclose(taggram.scores, expected, rtol=0, atol=1e-5)
    assert taggram.tags == tagger.tags
    assert (taggram.patch_s, taggram.hop_s, taggram.model) == (2.992, 2.992, model)
    np.testing.assert_allclose(taggram.times, np.arange(len(expected)) * 2.992)


@pytest.mark.parametrize("model", MODELS)
def test_the_score_of_a_tag_is_its_mean_over_the_patches(taggers, model, excerpt):
    tagger = taggers[model]
    mean = dict(zip(tagger.tags, tagger.taggram(excerpt).scores.mean(axis=0), strict=True))
    tags = tagger.tag(excerpt, top_k=50)
    assert len(tags) == 50
    assert dict(tags) == pytest.approx(mean, abs=1e-6)
    assert [score for _, score in tags] == sorted(mean.values(), reverse=True)


def test_the_clip_is_described_in_every_result(musicnn, excerpt):
    for result in (
        musicnn.tag(excerpt),
        musicnn.taggram(excerpt),
        musicnn.embed(excerpt),
        musicnn.features(excerpt, layers=["penultimate"]),
    ):
        assert result.clip.source == str(excerpt)
        assert result.clip.duration_s == 10
        assert not result.clip.repeated
        assert result.clip.dropped_s == pytest.approx((1 + 160000 // 256 - 3 * 187) * 0.016)
        assert result.model == "MTT_musicnn"


@pytest.mark.parametrize("model", MODELS)
def test_the_functions_say_the_same_as_a_tagger(taggers, model, excerpt):
    tagger = taggers[model]
    tags = musicnn_zoo.tag(excerpt, model=model, top_k=7)
    assert tags.names == tagger.tag(excerpt, top_k=7).names
    assert_same_tags(tags, tagger.tag(excerpt, top_k=7))
    np.testing.assert_allclose(
        musicnn_zoo.taggram(excerpt, model=model, hop_s=1).scores,
        tagger.taggram(excerpt, hop_s=1).scores,
        rtol=0,
        atol=1e-6,
    )
    np.testing.assert_allclose(
        musicnn_zoo.embed(excerpt, model=model, pooling="max").values,
        tagger.embed(excerpt, pooling="max").values,
        rtol=1e-4,
        atol=1e-5,
    )
    ours, theirs = musicnn_zoo.features(excerpt, model=model), tagger.features(excerpt)
    assert list(ours) == list(theirs)
    for layer, values in ours.items():
        np.testing.assert_allclose(values, theirs[layer], rtol=1e-4, atol=1e-5)


def test_the_default_model_is_mtt_musicnn(excerpt):
    assert musicnn_zoo.tag(excerpt, top_k=1).model == "MTT_musicnn"


def test_the_functions_take_a_tagger_and_a_model(musicnn, excerpt):
    expected = musicnn.tag(excerpt)
    assert_same_tags(musicnn_zoo.tag(excerpt, model=musicnn), expected)
    assert_same_tags(musicnn_zoo.tag(excerpt, model=musicnn.model), expected)


def test_a_tagger_has_its_device_already(musicnn, excerpt):
    with pytest.raises(ArgumentError, match="engine and device are chosen when a Tagger is made"):
        musicnn_zoo.tag(excerpt, model=musicnn, device="cpu")


def test_threads_get_what_a_single_one_gets(taggers, excerpt):
    jobs = [
        (lambda tagger=tagger, clip=clip: tagger.taggram(clip).scores)
        for tagger in taggers.values()
        for clip in (HARPSICHORD, excerpt)
    ] + [
        (lambda tagger=tagger, layer=layer: tagger.embed(excerpt, layer=layer).values)
        for tagger in taggers.values()
        for layer in ("penultimate", "logmel")
    ]
    with ThreadPoolExecutor(8) as pool:
        at_once = list(pool.map(lambda job: job(), jobs))
    assert len(at_once) == 8
    for job, result in zip(jobs, at_once, strict=True):
        np.testing.assert_allclose(result, job(), rtol=1e-5, atol=1e-6)


def test_the_batch_size_makes_no_difference(musicnn, excerpt):
    expected = musicnn.model(windows_of(excerpt, hop=30), training=False).numpy()
    scores = Tagger(musicnn.model, batch_size=4).taggram(excerpt, hop_s=0.5).scores
    assert scores.shape == (15, 50)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(batch_size):
    with pytest.raises(ArgumentError, match=f"at least 1; received {batch_size}"):
        Tagger("MTT_musicnn", batch_size=batch_size)


def test_the_features_of_musicnn(musicnn, excerpt):
    features = musicnn.features(excerpt)
    assert {name: array.shape for name, array in features.items()} == {
        name: (3, *shape) for name, shape in MUSICNN_SHAPES.items()
    }
    assert list(features) == list(MUSICNN_SHAPES) == list(musicnn.endpoints)
    assert {array.dtype for array in features.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(features.times, [0, 2.992, 5.984])


def test_the_features_of_vgg(vgg, excerpt):
    features = vgg.features(excerpt)
    assert list(features) == [*(f"pool{i}" for i in range(1, 6)), "penultimate"]
    assert {features[f"pool{i}"].shape[-1] for i in range(1, 6)} == {128}
    assert features["pool1"].shape[0] == 3
    assert features["pool5"].shape == (3, 2, 1, 128)
    np.testing.assert_array_equal(features["penultimate"], features["pool5"].reshape(3, 256))


def test_mean_and_max_pool_are_the_mean_and_max_over_time_of_what_is_below(musicnn, excerpt):
    features = musicnn.features(excerpt)
    below = np.concatenate([features[name] for name in ("cnn1", "cnn2", "cnn3")], axis=-1)
    mean, largest = below.mean(axis=1), below.max(axis=1)
    np.testing.assert_allclose(features["mean_pool"][:, -192:], mean, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(features["max_pool"][:, -192:], largest, rtol=1e-4, atol=1e-4)


def test_features_of_chosen_layers(musicnn, excerpt):
    features = musicnn.features(excerpt, layers=["output", "cnn2", "output"])
    assert list(features) == ["output", "cnn2"]
    np.testing.assert_allclose(features["output"], musicnn.taggram(excerpt).scores, atol=1e-6)
    np.testing.assert_array_equal(
        musicnn.features(excerpt, layers="cnn2")["cnn2"], features["cnn2"]
    )


def test_features_of_no_layer_are_refused(musicnn, excerpt):
    with pytest.raises(ArgumentError, match="at least one layer"):
        musicnn.features(excerpt, layers=[])


@pytest.mark.parametrize("layer", ["penultimate", "timbral", "cnn3", "max_pool", "logmel"])
def test_an_embedding_is_the_pooled_feature_of_musicnn(musicnn, layer, excerpt):
    assert_embeddings_are_pooled_features(musicnn, layer, excerpt)


@pytest.mark.parametrize("layer", ["pool1", "pool5"])
def test_an_embedding_is_the_pooled_feature_of_vgg(vgg, layer, excerpt):
    assert_embeddings_are_pooled_features(vgg, layer, excerpt)


def assert_embeddings_are_pooled_features(tagger, layer, clip):
    feature = tagger.features(clip, layers=[layer])[layer]
    inner = tuple(range(1, feature.ndim - 1))
    for pooling, expected in {
        "mean": feature.mean(axis=(0, *inner), dtype=np.float64),
        "max": feature.max(axis=(0, *inner)),
        None: feature.mean(axis=inner, dtype=np.float64),
    }.items():
        embedding = tagger.embed(clip, layer=layer, pooling=pooling)
        assert embedding.values.shape == expected.shape
        assert embedding.values.dtype == np.float32
        np.testing.assert_allclose(embedding.values, expected, rtol=1e-4, atol=1e-5)
        assert (embedding.layer, embedding.pooling) == (layer, pooling)
        np.testing.assert_allclose(embedding.times, [0, 2.992, 5.984])


@pytest.mark.parametrize(("model", "dimensions"), [("MTT_musicnn", 200), ("MTT_vgg", 256)])
def test_what_the_output_layer_receives_is_embedded_by_default(taggers, model, dimensions, excerpt):
    pooled = taggers[model].embed(excerpt)
    assert (pooled.layer, pooled.pooling) == ("penultimate", "mean")
    assert pooled.values.shape == (dimensions,)
    by_patch = taggers[model].embed(excerpt, pooling=None).values
    kernel, bias = (
        variable.numpy() for variable in taggers[model].model.get_layer("logits").weights
    )
    scores = 1 / (1 + np.exp(-(by_patch @ kernel + bias)))
    np.testing.assert_allclose(scores, taggers[model].taggram(excerpt).scores, rtol=0, atol=1e-5)


def test_embeddings_tell_harpsichord_from_techno(musicnn):
    def vector(clip, **options):
        values = musicnn.embed(clip, **options).values
        return values / np.linalg.norm(values)

    same = vector(HARPSICHORD) @ vector(HARPSICHORD, hop_s=1)
    assert same > vector(HARPSICHORD) @ vector(TECHNO)


@pytest.mark.parametrize("pooling", ["none", "sum", ""])
def test_another_pooling_is_refused(musicnn, pooling, excerpt):
    with pytest.raises(ArgumentError, match=f"'mean', 'max' or None; received '{pooling}'"):
        musicnn.embed(excerpt, pooling=pooling)


def test_an_unknown_layer_is_refused_with_the_nearest(musicnn, vgg, excerpt):
    with pytest.raises(UnknownNameError, match=r"layer of MTT_musicnn 'penultimat'.*penultimate"):
        musicnn.embed(excerpt, layer="penultimat")
    with pytest.raises(UnknownNameError, match=r"layer of MTT_vgg 'pol5'.*pool5"):
        vgg.features(excerpt, layers=["pool1", "pol5"])


def test_a_short_clip_is_repeated_and_the_result_says_so(musicnn):
    second = chirps(1, 16000)
    tags = musicnn.tag(second, sample_rate=16000, top_k=50)
    assert tags.clip.repeated
    assert tags.clip.duration_s == 1
    assert "repeated to fill one patch" in str(tags)
    by_hand = musicnn.tag(np.tile(second, 3)[:, :47616], sample_rate=16000, top_k=50)
    assert not by_hand.clip.repeated
    assert_same_tags(tags, by_hand)


def test_the_tail_can_be_covered(musicnn, excerpt):
    dropped, padded = musicnn.taggram(excerpt), musicnn.taggram(excerpt, tail="pad")
    assert len(padded) == len(dropped) + 1
    np.testing.assert_allclose(padded.scores[:-1], dropped.scores, rtol=0, atol=1e-5)
    assert dropped.clip.dropped_s > 0
    assert padded.clip.dropped_s == 0


def test_overlapping_patches_agree_with_those_side_by_side(musicnn, excerpt):
    overlapping = musicnn.taggram(excerpt, hop_s=0.016 * 188)
    assert overlapping.hop_s == 2.992
    np.testing.assert_allclose(overlapping.scores, musicnn.taggram(excerpt).scores, atol=1e-6)
    every_second = musicnn.taggram(excerpt, hop_s=1)
    assert every_second.hop_s == 0.976
    np.testing.assert_allclose(every_second.times, np.arange(8) * 0.976)
    expected = musicnn.model(windows_of(excerpt, hop=61), training=False).numpy()
    np.testing.assert_allclose(every_second.scores, expected, rtol=0, atol=1e-5)


def test_musicnn_takes_longer_patches(musicnn, excerpt):
    taggram = musicnn.taggram(excerpt, patch_s=4)
    assert taggram.scores.shape == (2, 50)
    assert taggram.patch_s == 4
    timbral = musicnn.features(excerpt, patch_s=4, layers=["timbral"])["timbral"]
    assert timbral.shape == (2, 250, 408)


def test_vgg_takes_no_longer_patches(vgg, excerpt):
    with pytest.raises(ArgumentError, match="187 frames"):
        vgg.tag(excerpt, patch_s=10)


def test_an_array_says_the_same_as_its_file(musicnn):
    array, rate = soundfile.read(TECHNO, dtype="float32", always_2d=True)
    assert (rate, array.shape[1]) == (44100, 2)
    tags = musicnn.tag(array.T, sample_rate=rate, top_k=50)
    assert_same_tags(tags, musicnn.tag(TECHNO, top_k=50))
    assert tags.clip.source is None


def test_an_open_file_says_the_same_as_its_path(musicnn, excerpt):
    with excerpt.open("rb") as file:
        assert_same_tags(musicnn.tag(file), musicnn.tag(excerpt))


@pytest.mark.parametrize("method", ["tag", "taggram", "embed", "features"])
def test_every_method_refuses_what_is_no_audio(musicnn, tmp_path, method, excerpt):
    with pytest.raises(AudioError, match="there is no such file"):
        getattr(musicnn, method)(tmp_path / "missing.wav")
    with pytest.raises(ArgumentError, match="needs its sample rate"):
        getattr(musicnn, method)(np.zeros(16000))
    with pytest.raises(ArgumentError, match="hop_s must be a positive"):
        getattr(musicnn, method)(excerpt, hop_s=0)
    with pytest.raises(ArgumentError, match="tail must be one of"):
        getattr(musicnn, method)(excerpt, tail="keep")


def test_events_of_many_files_are_those_of_each(musicnn, excerpt):
    rule = {"threshold": 0.3, "release": 0.25, "min_length_s": 1.0, "hop_s": 1.5, "patch_s": 4.0}
    results = list(musicnn.events_files([excerpt, excerpt], **rule))
    taggrams = musicnn.taggram_files([excerpt, excerpt], hop_s=1.5, patch_s=4.0)
    for result, taggram in zip(results, taggrams, strict=True):
        by_hand = taggram.value.events(threshold=0.3, release=0.25, min_length_s=1.0)
        assert [event[:3] for event in result.value] == [event[:3] for event in by_hand]
        assert len(by_hand) > 0
        assert result.value.clip == taggram.value.clip
        one = musicnn.events(result.source, **rule)
        assert [event[:3] for event in one] == [event[:3] for event in by_hand]
    assert musicnn_zoo.events(excerpt, model=musicnn, **rule) == one


def test_results_know_the_spectrogram_that_the_model_looks_at(musicnn, excerpt):
    assert musicnn.taggram(excerpt).spectrogram == LogMelInput()
    assert musicnn.events(excerpt).spectrogram == LogMelInput()


@pytest.mark.parametrize(
    ("rule", "pattern"),
    [
        ({"threshold": 2}, "threshold must be between 0 and 1; received 2"),
        ({"release": 0.9}, "release must be between 0 and the threshold 0.5; received 0.9"),
        ({"min_length_s": -1}, "min_length_s must be at least 0; received -1"),
    ],
)
def test_a_wrong_rule_of_events_is_refused_before_the_audio_is_read(
    musicnn, tmp_path, rule, pattern
):
    with pytest.raises(ArgumentError, match=pattern):
        musicnn.events(tmp_path / "gone.wav", **rule)
    with pytest.raises(ArgumentError, match=pattern):
        musicnn.events_files([tmp_path / "gone.wav"], **rule)


def test_embedding_and_tag_come_together(musicnn, excerpt):
    for layer in ("penultimate", "timbral", "output"):
        (result,) = musicnn.embedded_tags_files([excerpt], layer=layer)
        expected = musicnn.embed(excerpt, layer=layer)
        found = result.value
        np.testing.assert_allclose(found.embedding.values, expected.values, rtol=1e-3, atol=1e-4)
        assert found.embedding.layer == layer
        assert found.tags.names == musicnn.tag(excerpt, top_k=1).names


def test_a_wrong_ranking_is_refused_before_the_audio_is_read(musicnn, tmp_path):
    with pytest.raises(ArgumentError, match="top_k"):
        musicnn.tag(tmp_path / "missing.wav", top_k=0)


def test_an_unknown_model_is_refused_with_the_nearest(excerpt):
    with pytest.raises(UnknownNameError, match="'MTT_musicn'; did you mean MTT_musicnn"):
        musicnn_zoo.tag(excerpt, model="MTT_musicn")
    with pytest.raises(UnknownNameError, match="'mtt_vg'; did you mean MTT_vgg"):
        Tagger("mtt_vg")


def test_a_missing_device_is_refused_and_those_present_listed():
    missing = f"gpu:{len(tf.config.list_physical_devices('GPU'))}"
    with pytest.raises(DeviceError, match=rf"'{missing}' is not there; TensorFlow sees .*cpu:0"):
        Tagger("MTT_musicnn", device=missing)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_a_gpu_is_refused_where_there_is_none(excerpt):
    with pytest.raises(DeviceError, match="'gpu' is not there; TensorFlow sees cpu:0"):
        musicnn_zoo.tag(excerpt, device="gpu")


@pytest.mark.parametrize("device", ["tpu", "", "cpu:99", "gpu:x", "first"])
def test_a_device_of_another_name_is_refused(device):
    with pytest.raises(DeviceError, match=r"TensorFlow sees .*cpu:0"):
        Tagger("MTT_musicnn", device=device)


def test_a_missing_device_is_refused_at_once_with_a_loaded_model_too(musicnn):
    with pytest.raises(DeviceError, match="'cpu:99' is not there"):
        Tagger(musicnn.model, device="cpu:99")


@pytest.mark.parametrize("device", ["CPU", "cpu:0"])
def test_the_cpu_can_be_asked_for(musicnn, device, excerpt):
    tagger = Tagger(musicnn.model, device=device)
    assert_same_tags(tagger.tag(excerpt), musicnn.tag(excerpt))


def test_a_model_of_ones_own(excerpt):
    config = ModelConfig(
        input=LogMelInput(sample_rate=8000, n_fft=256, hop=128, n_mels=48, f_max=4000),
        frontend=block("timbral_temporal"),
        midend=block("dense_residual"),
        backend=block("temporal_pooling"),
        patch=100,
    )
    tagger = Tagger(build_model(config, tags=["calm", "loud"], name="mine"))
    taggram = tagger.taggram(excerpt)
    assert (tagger.tags, taggram.tags, taggram.model) == (
        ("calm", "loud"),
        ("calm", "loud"),
        "mine",
    )
    assert taggram.scores.shape == ((1 + 80000 // 128) // 100, 2)
    assert taggram.patch_s == 1.6

    signal, _ = librosa.load(excerpt, sr=8000)
    first = np.pad(signal, 128)[np.newaxis, : 99 * 128 + 256]
    expected = tagger.model(first, training=False).numpy()
    np.testing.assert_allclose(taggram.scores[:1], expected, rtol=0, atol=1e-5)
    assert set(tagger.tag(excerpt).names) == {"calm", "loud"}


def test_a_vgg_of_ones_own_takes_no_other_patch_than_it_was_built_for(excerpt):
    config = ModelConfig(
        input=LogMelInput(), frontend=block("vgg"), backend=block("mlp"), patch=250
    )
    tagger = Tagger(build_model(config, tags=3))
    assert tagger.taggram(excerpt).scores.shape == (626 // 250, 3)
    assert tagger.tags == ("tag_0", "tag_1", "tag_2")
    with pytest.raises(ArgumentError, match="250 frames"):
        tagger.tag(excerpt, patch_s=2.992)
