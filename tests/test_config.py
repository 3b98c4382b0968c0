import json
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musicnn_zoo.errors import ArgumentError, UnknownNameError
from musicnn_zoo.networks.config import (
    BLOCKS,
    Block,
    LogMelInput,
    ModelConfig,
    Provenance,
    WaveformInput,
    block,
    block_spec,
    checked_tags,
    is_of_type,
)
from musicnn_zoo.zoo.catalogue import PRESETS

MUSICNN = PRESETS["MTT_musicnn"].config
VGG = PRESETS["MTT_vgg"].config

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
options = st.dictionaries(
    st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(lambda name: name != "kind"),
    st.recursive(plain, lambda inner: st.lists(inner, max_size=3), max_leaves=6),
    max_size=4,
)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_survives_json(name):
    config = PRESETS[name].config
    assert ModelConfig.from_json(config.to_json()) == config


def test_a_model_of_ones_own_survives_json():
    config = ModelConfig(
        input=LogMelInput(sample_rate=22050, n_mels=64, compression="decibel", normalization=None),
        frontend=block("timbral_temporal", filters=[2, 3], note="été"),
        midend=None,
        backend=block("temporal_pooling", dropout=0.25),
        patch=99,
        activation=None,
    )
    assert ModelConfig.from_json(config.to_json()) == config


def test_a_model_of_waveforms_survives_json():
    config = ModelConfig(
        input=WaveformInput(sample_rate=22050),
        frontend=block("sample_level"),
        backend=block("temporal_pooling"),
        patch=59049,
    )
    assert ModelConfig.from_json(config.to_json()) == config


def test_several_windows_survive_json():
    config = replace(VGG, input=LogMelInput(n_fft=2048, shorter_windows=[512, 1024]))
    assert config.input.shorter_windows == (512, 1024)
    assert ModelConfig.from_json(config.to_json()) == config
    assert hash(ModelConfig.from_json(config.to_json())) == hash(config)


@given(options)
def test_a_block_survives_json(values):
    written = block("vgg", **values)
    again = Block.from_dict(json.loads(json.dumps(written.to_dict())))
    assert again == written
    assert again.to_dict() == {"kind": "vgg", **values}


@given(options)
def test_the_order_of_options_makes_no_difference(values):
    backwards = dict(reversed(values.items()))
    assert block("vgg", **values) == block("vgg", **backwards)


def test_equal_configurations_hash_alike():
    again = ModelConfig.from_json(VGG.to_json())
    assert {VGG: "found"}[again] == "found"


def test_a_configuration_is_frozen():
    with pytest.raises(FrozenInstanceError):
        VGG.patch = 1


def test_what_is_left_out_of_the_json_takes_its_default():
    config = ModelConfig.from_dict(
        {"input": {"kind": "logmel"}, "frontend": {"kind": "vgg"}, "backend": {"kind": "mlp"}}
    )
    assert config == VGG


@pytest.mark.parametrize(
    ("where", "key", "nearest"),
    [("model", "front_end", "frontend"), ("input", "n_mel", "n_mels"), ("model", "pach", "patch")],
)
def test_an_unknown_key_is_refused_with_the_nearest(where, key, nearest):
    values = MUSICNN.to_dict()
    (values if where == "model" else values["input"])[key] = 1
    with pytest.raises(UnknownNameError, match=rf"'{key}'; did you mean .*\b{nearest}\b"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("role", "kind", "nearest"),
    [
        ("frontend", "timbral_temporl", "timbral_temporal"),
        ("midend", "dense_residul", "dense_residual"),
        ("backend", "temporal_poling", "temporal_pooling"),
    ],
)
def test_an_unknown_block_is_refused_with_the_nearest(role, kind, nearest):
    values = MUSICNN.to_dict()
    values[role] = {"kind": kind}
    with pytest.raises(UnknownNameError, match=f"unknown {role} '{kind}'; did you mean {nearest}"):
        ModelConfig.from_dict(values)


def test_an_unknown_input_is_refused_with_the_nearest():
    values = MUSICNN.to_dict()
    values["input"]["kind"] = "log_mel"
    with pytest.raises(UnknownNameError, match="unknown input 'log_mel'; did you mean logmel"):
        ModelConfig.from_dict(values)


def test_an_input_without_kind_is_told_what_it_lacks():
    values = MUSICNN.to_dict()
    del values["input"]["kind"]
    with pytest.raises(ArgumentError, match="kind"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("mel_scale", "mel"),
        ("mel_norm", "l2"),
        ("compression", "log"),
        ("padding", "zeros"),
        ("normalization", "layernorm"),
        ("f_max", 8001),
        ("shorter_windows", (256, 1024)),
        ("shorter_windows", [16] * 17),
        ("shorter_windows", "256"),
        ("shorter_windows", 256),
        ("f_max", -1),
        ("f_max", float("nan")),
        ("f_max", True),
        ("f_max", 10**400),
        ("bn_epsilon", float("inf")),
        ("n_fft", True),
        ("n_fft", 512.0),
        ("n_fft", 2**24),
        pytest.param("n_fft", 10**5000, id="digits"),
        ("hop", 2**40),
        ("sample_rate", 10**9),
        ("n_mels", 10**6),
        ("f_min", 8000),
    ],
)
def test_an_input_that_cannot_be_is_refused(option, value):
    with pytest.raises(ArgumentError, match=f"{option} must be .*; received "):
        LogMelInput(**{option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("patch", 0), ("patch", 187.5), ("patch", True), ("patch", "187"), ("patch", 2**28 + 1),
        ("activation", "relu"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_is_refused(option, value):
    with pytest.raises(ArgumentError, match=f"{option} must be .*; received '?{value}"):
        replace(MUSICNN, **{option: value})


def test_the_edges_of_the_bands_are_in_order():
    with pytest.raises(ArgumentError, match=r"f_min must be below f_max=1; received f_min=7999"):
        LogMelInput(f_min=7999, f_max=1)


def test_a_patch_of_too_many_samples_is_refused():
    with pytest.raises(ArgumentError, match=r"patch must be at most .* samples long"):
        replace(MUSICNN, patch=2**27)


def test_numbers_of_numpy_become_those_of_json():
    signal = LogMelInput(
        n_fft=np.int64(1024), shorter_windows=np.array([512]), f_max=np.float32(7000)
    )
    given = replace(
        MUSICNN, input=signal, patch=np.int32(99), frontend=block("vgg", dropout=np.float32(0.5))
    )
    plain = replace(
        MUSICNN, input=LogMelInput(n_fft=1024, shorter_windows=(512,), f_max=7000.0), patch=99,
        frontend=block("vgg", dropout=0.5),
    )  # fmt: skip
    assert given == plain
    assert given.to_json() == plain.to_json()
    assert Provenance(metrics={"roc_auc": np.float32(0.5)}).to_dict()["metrics"] == {"roc_auc": 0.5}


@pytest.mark.parametrize(
    "entries",
    [{"license": 3}, {"metrics": {"roc_auc": True}}, {"metrics": {"roc_auc": float("nan")}},
     {"metrics": {"roc_auc": "high"}}, {"metrics": [90.0]}],
    ids=str,
)  # fmt: skip
def test_a_provenance_of_the_wrong_type_is_refused(entries):
    with pytest.raises(ArgumentError, match=r"provenance .* must be"):
        Provenance(**entries)


@pytest.mark.parametrize("tags", ["calm", [], [""], ["a", 1], ["a", "a"], 3.5, range(10**5 + 1)])
def test_tags_that_cannot_be_are_refused(tags):
    with pytest.raises(ArgumentError, match="tags must be"):
        checked_tags(tags)


@pytest.mark.parametrize(
    ("value", "declared", "fits"),
    [
        (3, int, True), (True, int, False), (3.0, int, False), (2**24 + 1, int, False),
        (3, float, True), (0.5, float, True), (True, float, False), (float("nan"), float, False),
        (float("inf"), float, False), (10**400, float, False),
        (True, bool, True), (1, bool, False), ("a", str, True), (None, str, False),
        (None, int | None, True), ("a", Literal["a", "b"], True), (1, Literal[True], False),
        ((1, 2), tuple[int, int], True), ((1,), tuple[int, int], False),
        ((), Sequence[int], True), (3, Sequence[int], False), (("3",), Sequence[int], False),
        (((1, 2),), Sequence[tuple[int, int]], True),
    ],
)  # fmt: skip
def test_a_value_is_of_a_declared_type_or_not(value, declared, fits):
    assert is_of_type(value, declared) is fits


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"input": WaveformInput()}, "'vgg' takes a map, but the input gives a waveform"),
        ({"frontend": block("sample_level")}, "takes a waveform, but the input gives a map"),
        (
            {"frontend": block("vertical"), "backend": block("fully_convolutional")},
            "takes a map, but frontend 'vertical' gives a sequence",
        ),
    ],
)
def test_blocks_that_do_not_fit_are_refused(config, reason):
    with pytest.raises(ArgumentError, match=reason):
        replace(VGG, **config)


def test_a_block_in_the_wrong_place_is_refused():
    with pytest.raises(UnknownNameError, match="unknown backend 'vgg'"):
        replace(VGG, backend=block("vgg"))


@pytest.mark.parametrize("key", ["input", "frontend", "backend"])
def test_a_missing_part_is_named(key):
    values = MUSICNN.to_dict()
    del values[key]
    with pytest.raises(ArgumentError, match=f"lacks '{key}'"):
        ModelConfig.from_dict(values)


@pytest.mark.parametrize("values", [{}, {"filters": 3}, {"kind": 3}])
def test_a_block_without_kind_is_refused(values):
    with pytest.raises(ArgumentError, match="needs a 'kind'"):
        Block.from_dict(values)


@pytest.mark.parametrize("value", [{"a": 1}, b"bytes", object()])
def test_an_option_that_json_cannot_hold_is_refused(value):
    with pytest.raises(ArgumentError, match=type(value).__name__):
        block("vgg", filters=value)


def test_the_endpoints_are_those_of_the_blocks_in_order_of_depth():
    assert MUSICNN.endpoints == (
        "timbral", "temporal", "cnn1", "cnn2", "cnn3", "mean_pool", "max_pool", "penultimate",
    )  # fmt: skip
    assert VGG.endpoints == ("pool1", "pool2", "pool3", "pool4", "pool5", "penultimate")


def test_only_a_model_with_a_fixed_block_has_a_fixed_length():
    assert VGG.fixed_length
    assert not MUSICNN.fixed_length


def test_the_input_defaults_are_those_of_musicnn():
    assert MUSICNN.input == LogMelInput()
    published = {"sample_rate": 16000, "n_fft": 512, "hop": 256, "n_mels": 96}
    assert published.items() <= MUSICNN.to_dict()["input"].items()


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_found_in_its_role_only(name):
    role = BLOCKS[name].role
    assert block_spec(name, role) is BLOCKS[name]
    for other in {"frontend", "midend", "backend"} - {role}:
        with pytest.raises(UnknownNameError):
            block_spec(name, other)
