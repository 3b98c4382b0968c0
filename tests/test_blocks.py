"""Every front-end on every back-end that can follow it, and what cannot is refused."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from musicnn_zoo import (
    ArgumentError,
    UnknownNameError,
    build_model,
    list_backends,
    list_frontends,
    list_midends,
)
from musicnn_zoo.networks.backends import _pools_for
from musicnn_zoo.networks.build import TaggingModel
from musicnn_zoo.networks.config import (
    BLOCKS,
    LogMelInput,
    ModelConfig,
    WaveformInput,
    block,
    block_function,
    block_names,
    block_spec,
)

SMALL_FRONTENDS = {
    "sample_level": [
        block("sample_level", filters=(4, 5, 6, 6, 6, 8), pointwise=5),
        block("sample_level", filters=(4, 5, 6), variant="se"),
        block("sample_level", filters=(4, 4, 6), variant="res", pointwise=None),
        block("sample_level", filters=(4, 5, 6), variant="rese"),
    ],
    "frame_level": [block("frame_level", filters=6, stack=(4, 5))],
    "frame_level_multiscale": [block("frame_level_multiscale", filters=(3, 4, 5), stack=(4,))],
    "vgg": [block("vgg", filters=5)],
    "rectangular": [block("rectangular", filters=(4, 5), pools=((2, 4), (3, 5)))],
    "short_chunk": [
        block("short_chunk", filters=(4, 4, 5)),
        block("short_chunk", filters=(4, 5), residual=True),
    ],
    "vertical": [block("vertical", filters=(4, 5))],
    "timbral": [block("timbral", branches=((0.4, 7, 3), (0.2, 1, 4)), stack=(5,))],
    "horizontal": [block("horizontal", filters=(3, 4))],
    "timbral_temporal": [
        block("timbral_temporal", timbral=((0.4, 7, 3), (0.7, 7, 4)), temporal=((16, 3), (9, 2))),
        block(
            "timbral_temporal",
            timbral=((0.9, 3, 3),),
            temporal=((16, 3),),
            temporal_input="mean",
            order="bn_relu",
        ),
    ],
}
SMALL_BACKENDS = {
    "temporal_pooling": [
        block("temporal_pooling", units=6),
        block("temporal_pooling", units=None, mode="max"),
        block("temporal_pooling", units=6, mode="mean", order="bn_relu", input_bn=False),
        block("temporal_pooling", units=6, interleaved=False),
    ],
    "autopool": [block("autopool", units=6)],
    "attention": [
        block("attention", units=6),
        block("attention", units=6, weights="channel", positions=True),
    ],
    "recurrent": [
        block("recurrent", cell_units=4, units=None),
        block("recurrent", cell="gru", cell_units=4, depth=3, bidirectional=True, units=6),
    ],
    "self_attention": [block("self_attention", width=8, heads=2, depth=1)],
}
MIDENDS = [None, block("dense_residual", filters=4), block("residual", filters=4)]
LENGTHS = (32000, 40000)

variable_backends = [
    name for name in block_names("backend") if not block_spec(name, "backend").fixed_length
]


def small(frontend: str, backend: str) -> TaggingModel:
    return build_model(
        frontend=SMALL_FRONTENDS[frontend][0], backend=SMALL_BACKENDS[backend][0], tags=3
    )


def check(model: TaggingModel, folder: Path) -> None:
    random = np.random.default_rng(0)
    waveforms = [random.normal(0, 0.1, (2, n)).astype(np.float32) for n in LENGTHS]
    outputs = [np.asarray(model(waveform, training=False)) for waveform in waveforms]
    for output in outputs:
        assert output.shape == (2, 3)
        assert np.isfinite(output).all()

    path = folder / "model.keras"
    model.save(path)
    copy = keras.saving.load_model(path)
    np.testing.assert_array_equal(copy(waveforms[1], training=False), outputs[1])

    targets = random.uniform(size=(2, 3))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(waveforms[0], training=True) - targets) ** 2)
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    for weight, gradient in zip(model.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.path
        assert np.isfinite(gradient).all(), weight.path
    assert any(np.any(gradient) for gradient in gradients)


def test_the_samples_below_cover_every_block() -> None:
    assert list(SMALL_FRONTENDS) == block_names("frontend")
    assert list(SMALL_BACKENDS) == variable_backends
    assert {one.kind for one in MIDENDS if one} == set(block_names("midend"))


@pytest.mark.parametrize("frontend", block_names("frontend"))
def test_every_frontend_learns_and_is_saved(frontend: str, tmp_path: Path) -> None:
    check(small(frontend, "temporal_pooling"), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("backend", variable_backends)
@pytest.mark.parametrize("frontend", ["sample_level", "vgg", "timbral_temporal"])
def test_every_backend_learns_and_is_saved(frontend: str, backend: str, tmp_path: Path) -> None:
    """On a front-end of each kind of output: of a waveform, of a map, of features over time."""
    check(small(frontend, backend), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("frontend", block_names("frontend"))
def test_every_frontend_with_every_backend(frontend: str) -> None:
    for backend in variable_backends:
        model = small(frontend, backend)
        for samples in LENGTHS:
            scores = np.asarray(model(np.zeros((2, samples), np.float32), training=False))
            assert scores.shape == (2, 3)
            assert np.isfinite(scores).all(), backend


@pytest.mark.parametrize(
    "frontend",
    [one for several in SMALL_FRONTENDS.values() for one in several[1:]],
    ids=lambda one: str(one.to_dict()),
)
def test_variants_of_frontends(frontend, tmp_path: Path) -> None:
    backend = SMALL_BACKENDS["temporal_pooling"][0]
    check(build_model(frontend=frontend, backend=backend, tags=3), tmp_path)


@pytest.mark.parametrize(
    "backend",
    [one for several in SMALL_BACKENDS.values() for one in several[1:]],
    ids=lambda one: str(one.to_dict()),
)
def test_variants_of_backends(backend, tmp_path: Path) -> None:
    frontend = SMALL_FRONTENDS["vertical"][0]
    check(build_model(frontend=frontend, backend=backend, tags=3), tmp_path)


@pytest.mark.parametrize(
    ("frontend", "midend"),
    [
        ("sample_level", MIDENDS[1]),
        ("rectangular", MIDENDS[2]),
        ("timbral_temporal", MIDENDS[1]),
        pytest.param("sample_level", MIDENDS[2], marks=pytest.mark.slow),
        pytest.param("rectangular", MIDENDS[1], marks=pytest.mark.slow),
        pytest.param("timbral_temporal", MIDENDS[2], marks=pytest.mark.slow),
    ],
    ids=lambda one: getattr(one, "kind", one),
)
def test_midends(frontend: str, midend, tmp_path: Path) -> None:
    model = build_model(
        frontend=SMALL_FRONTENDS[frontend][0],
        midend=midend,
        backend=SMALL_BACKENDS["temporal_pooling"][0],
        tags=3,
    )
    check(model, tmp_path)


@pytest.mark.parametrize("frontend", list_frontends())
def test_every_ticked_cell_builds_with_its_defaults(frontend: str) -> None:
    """Shapes only: in this scope, variables are declared and get no values."""
    with keras.StatelessScope(initialize_variables=False):
        for backend in list_backends(frontend):
            model = build_model(frontend=frontend, backend=backend, tags=3)
            assert model.output_shape == (None, 3), backend


def test_the_default_pools_leave_one_of_whatever_there_is() -> None:
    for frames, bands, count in ((2, 1, 3), (179, 9, 3), (1, 1, 3), (46, 12, 4), (20, 20, 1)):
        for pool_frames, pool_bands in _pools_for(frames, bands, count):
            frames, bands = frames // pool_frames, bands // pool_bands
        assert (frames, bands) == (1, 1)


def test_blocks_are_listed_by_role() -> None:
    assert list_frontends() == block_names("frontend")
    assert list_midends() == block_names("midend")
    assert list_backends() == block_names("backend")
    with pytest.raises(UnknownNameError, match="did you mean vertical"):
        list_backends("vertica")


@pytest.mark.parametrize("backend", ["mlp", "fully_convolutional"])
def test_fixed_length_backends_know_their_length(backend: str) -> None:
    model = build_model(
        frontend=block("rectangular", filters=(4,), pools=((2, 4),)),
        backend=block("mlp", units=6)
        if backend == "mlp"
        else block("fully_convolutional", filters=(4,), pools=((93, 24),)),
        tags=3,
    )
    assert model.input_shape == (None, 48128)
    assert model.predict_on_batch(np.zeros((2, 48128), np.float32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("frontend", "signal", "why"),
    [
        ("sample_level", LogMelInput(), r"takes a waveform, but the input gives a map"),
        ("vgg", WaveformInput(), r"takes a map, but the input gives a waveform"),
    ],
)
def test_a_frontend_on_the_wrong_input_is_refused(frontend: str, signal, why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        build_model(frontend=frontend, input=signal)


@pytest.mark.parametrize(
    "frontend", [n for n in block_names("frontend") if BLOCKS[n].gives == "sequence"]
)
def test_a_stack_over_bands_after_a_frontend_without_bands_is_refused(frontend: str) -> None:
    with pytest.raises(
        ArgumentError, match=f"takes a map, but frontend '{frontend}' gives a sequence"
    ):
        build_model(frontend=frontend, backend="fully_convolutional")


def test_pools_that_leave_more_than_one_position_are_refused() -> None:
    with pytest.raises(ArgumentError, match=r"must leave 1 × 1 .* leave 46 × 12"):
        build_model(
            frontend=block("rectangular", filters=(4,), pools=((2, 4),)),
            backend=block("fully_convolutional", filters=(4,), pools=((2, 2),)),
        )


def test_a_patch_that_is_too_short_for_the_pools_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"must leave 1 × 1 .* leave 0 × 1"):
        build_model("fcn5", patch=100)
    with pytest.raises(ArgumentError, match="a longer patch or more bands may help"):
        build_model("dieleman_mel", patch=20)


def test_bands_that_are_too_few_for_the_pools_are_refused() -> None:
    with pytest.raises(ArgumentError, match="cannot be put on features of shape"):
        build_model(frontend="short_chunk", input=LogMelInput(n_mels=96))


@pytest.mark.parametrize(
    ("role", "name", "near"),
    [
        ("frontend", "vggg", "vgg"),
        ("backend", "auto_pool", "autopool"),
        ("midend", "x", "residual"),
    ],
)
def test_unknown_blocks_are_refused(role: str, name: str, near: str) -> None:
    keywords = {"frontend": "vertical", role: name}
    with pytest.raises(UnknownNameError, match=near):
        build_model(**keywords)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="did you mean filters"):
        build_model(frontend={"kind": "vgg", "filter": 3})


def test_nothing_to_build_is_refused() -> None:
    with pytest.raises(ArgumentError, match="front-end"):
        build_model(backend="attention")


def test_keywords_replace_parts_of_an_architecture() -> None:
    model = build_model("musicnn", backend="attention", tags=["a", "b"])
    assert model.zoo_config.backend.kind == "attention"
    assert model.zoo_config.frontend.kind == "timbral_temporal"
    assert model.tags == ("a", "b")


@pytest.mark.parametrize("name", BLOCKS)
def test_every_block_is_a_documented_function(name: str) -> None:
    spec = BLOCKS[name]
    documentation = block_function(name, spec.role).__doc__
    for section in ("Parameters", "Returns"):
        assert section in documentation
    assert spec.paper


def test_a_configuration_of_unfitting_blocks_cannot_be_made() -> None:
    with pytest.raises(ArgumentError, match="takes a waveform"):
        ModelConfig(LogMelInput(), block("sample_level"), block("autopool"))
