"""The table of architectures: what each is made of, whose it is, how large it is."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

from musicnn_zoo.errors import UnknownNameError
from musicnn_zoo.networks.config import (
    Block,
    Input,
    LogMelInput,
    ModelConfig,
    WaveformInput,
    block,
    block_spec,
)


@dataclass(frozen=True)
class Architecture:
    """One row of :data:`ARCHITECTURES`.

    ``parameters`` are the trainable ones with 50 tags. ``receptive_field_s`` is how many seconds of
    audio one frame before the back-end comes from; infinite if the whole input takes part.
    """

    name: str
    config: ModelConfig
    paper: str
    parameters: int
    receptive_field_s: float

    def describe_input(self) -> str:
        """Return the kind of input with its rate, for people."""
        signal = self.config.input
        rate = f"{signal.sample_rate / 1000:g} kHz"
        if isinstance(signal, WaveformInput):
            return f"waveform, {rate}"
        return f"log-mel {signal.n_mels}, {rate}"

    @property
    def domain_knowledge(self) -> bool:
        """Whether domain knowledge went into the front-end."""
        return block_spec(self.config.frontend.kind, "frontend").domain_knowledge

    @property
    def shapes(self) -> str:
        """How many filter shapes the first layer has: ``minimal``, ``one`` or ``many``."""
        return block_spec(self.config.frontend.kind, "frontend").shapes


MUSICNN_INPUT = LogMelInput()
TORCH_EPSILON = 1e-5
WON_INPUT = LogMelInput(
    mel_scale="htk", mel_norm=None, compression="decibel", padding="reflect",
    bn_epsilon=TORCH_EPSILON,
)  # fmt: skip
SHORT_CHUNK_INPUT = replace(WON_INPUT, n_mels=128)
CHOI_INPUT = LogMelInput(sample_rate=12000, f_max=6000.0, compression="decibel")
SCHLUETER_INPUT = LogMelInput(
    sample_rate=44100, n_fft=4096, shorter_windows=(1024, 2048), hop=441, n_mels=80,
    f_min=27.5, f_max=16000.0, normalization="standardize",
)  # fmt: skip

THREE_SECONDS = 187
SECONDS_3, SECONDS_29 = 48000, 464000
SHORT_CHUNK_PATCH = SAMPLECNN_PATCH = 3**10
FRAME_LEVEL_PATCH = 48128

_WON = "Won et al. 2020, Evaluation of CNN-based automatic music tagging models"

_AT_SCALE_BACKEND = block("temporal_pooling", interleaved=False, units=500, input_bn=False)
_WON_CNN_BACKEND = block(
    "temporal_pooling", mode="max", units=512, input_bn=False, order="bn_relu", input_dropout=0.0,
    bn_epsilon=TORCH_EPSILON,
)  # fmt: skip
_DENSE_RESIDUAL = block("dense_residual")
_DIELEMAN_BACKEND = block("mlp", units=100, dropout=0.0)


def _model(
    signal: Input, frontend: Block, backend: Block, patch: int, midend: Block | None = None
) -> ModelConfig:
    return ModelConfig(signal, frontend, backend, midend, patch)


def _musicnn(backend: Block, midend: Block = _DENSE_RESIDUAL) -> ModelConfig:
    return _model(MUSICNN_INPUT, block("timbral_temporal"), backend, THREE_SECONDS, midend)


_ROWS: dict[str, tuple[ModelConfig, str, int, float]] = {
    "samplecnn": (
        _model(WaveformInput(22050), block("sample_level"), block("mlp"), SAMPLECNN_PATCH),
        "Lee et al. 2017, Sample-level deep CNNs for music auto-tagging using raw waveforms",
        1_869_874, 5.356,
    ),
    "samplecnn_se": (
        _model(
            WaveformInput(22050), block("sample_level", variant="se"), block("mlp"),
            SAMPLECNN_PATCH,
        ),
        "Kim et al. 2018, Sample-level CNN architectures for music auto-tagging",
        3_250_738, math.inf,
    ),
    "atscale_waveform": (
        _model(
            WaveformInput(16000),
            block(
                "sample_level", filters=(64, 64, 64, 128, 128, 128, 256), pointwise=None,
                order="relu_bn", padding="valid",
            ),
            _AT_SCALE_BACKEND,
            15 * 16000,
            midend=block("residual"),
        ),
        "Pons et al. 2018, End-to-end learning for music audio tagging at scale",
        5_377_082, 3.69,
    ),
    "atscale_spectrogram": (
        _model(
            LogMelInput(normalization="standardize"),
            block(
                "timbral_temporal",
                timbral=(
                    (0.9, 7, 16), (0.9, 3, 32), (0.9, 1, 64),
                    (0.4, 7, 16), (0.4, 3, 32), (0.4, 1, 64),
                ),
                temporal=((165, 16), (128, 32), (64, 64), (32, 128)),
                temporal_input="mean",
            ),
            _AT_SCALE_BACKEND,
            937,
            midend=block("residual"),
        ),
        "Pons et al. 2018, End-to-end learning for music audio tagging at scale",
        5_924_154, 3.056,
    ),
    "fcn4": (
        _model(
            CHOI_INPUT,
            block("rectangular", filters=(128,), pools=((4, 2),)),
            block("fully_convolutional"),
            1366,
        ),
        "Choi et al. 2016, Automatic tagging using deep convolutional neural networks",
        17_365_940, math.inf,
    ),
    "fcn5": (
        _model(
            CHOI_INPUT,
            block("rectangular", filters=(128,), pools=((4, 2),)),
            block(
                "fully_convolutional", filters=(256, 512, 1024, 2048),
                pools=((4, 2), (4, 2), (5, 3), (4, 4)),
            ),
            1366,
        ),
        "Choi et al. 2016, Automatic tagging using deep convolutional neural networks",
        25_183_028, math.inf,
    ),
    "fcn": (
        _model(
            WON_INPUT,
            block("rectangular", filters=(64,), pools=((4, 2),), bn_epsilon=TORCH_EPSILON),
            block(
                "fully_convolutional", filters=(128, 128, 128, 64),
                pools=((4, 2), (4, 2), (5, 3), (4, 4)), bn_epsilon=TORCH_EPSILON,
            ),
            SECONDS_29,
        ),
        f"Choi et al. 2016 as in {_WON}",
        447_732, math.inf,
    ),
    "crnn": (
        _model(
            WON_INPUT,
            block("rectangular", bn_epsilon=TORCH_EPSILON),
            block("recurrent", cell="gru", cell_units=32, units=None),
            SECONDS_29,
        ),
        f"Choi et al. 2017 as in {_WON}",
        394_100, 2.608,
    ),
    "dieleman_mel": (
        _model(MUSICNN_INPUT, block("vertical"), _DIELEMAN_BACKEND, THREE_SECONDS),
        "Dieleman & Schrauwen 2014, End-to-end learning for music audio",
        66_784, 0.832,
    ),
    "dieleman_waveform": (
        _model(
            WaveformInput(16000), block("frame_level"), _DIELEMAN_BACKEND, FRAME_LEVEL_PATCH
        ),
        "Dieleman & Schrauwen 2014, End-to-end learning for music audio",
        140_638, 0.832,
    ),
    "timbre": (
        _model(MUSICNN_INPUT, block("timbral"), _DIELEMAN_BACKEND, THREE_SECONDS),
        "Pons et al. 2017, Timbre analysis of music audio signals with CNNs",
        185_856, 0.288,
    ),
    "schlueter_horizontal": (
        _model(SCHLUETER_INPUT, block("horizontal"), block("mlp", units=256), 15),
        "Schlüter & Böck 2014, Improved musical onset detection with CNNs",
        302_286, 0.173,
    ),
    "lee2009_vertical": (
        _model(
            MUSICNN_INPUT,
            block("vertical", filters=(300, 300), width=6, pool=3),
            block("temporal_pooling"),
            THREE_SECONDS,
        ),
        "Lee et al. 2009, Unsupervised feature learning for audio classification",
        845_252, 0.48,
    ),
    "zhu_multiscale": (
        _model(
            WaveformInput(16000),
            block("frame_level_multiscale"),
            block("temporal_pooling"),
            FRAME_LEVEL_PATCH,
        ),
        "Zhu et al. 2016, Learning multiscale features directly from waveforms",
        99_706, 0.864,
    ),
    "short_chunk": (
        _model(
            SHORT_CHUNK_INPUT,
            block("short_chunk", bn_epsilon=TORCH_EPSILON),
            _WON_CNN_BACKEND,
            SHORT_CHUNK_PATCH,
        ),
        _WON,
        3_687_348, 6.128,
    ),
    "short_chunk_res": (
        _model(
            SHORT_CHUNK_INPUT,
            block("short_chunk", residual=True, bn_epsilon=TORCH_EPSILON),
            _WON_CNN_BACKEND,
            SHORT_CHUNK_PATCH,
        ),
        _WON,
        12_104_244, 12.224,
    ),
    "musicnn": (
        _musicnn(block("temporal_pooling")),
        "Pons & Serra 2019, musicnn: Pre-trained CNNs for music audio tagging",
        787_159, 2.352,
    ),
    "musicnn_big": (
        _musicnn(
            block("temporal_pooling", units=500), midend=block("dense_residual", filters=512)
        ),
        "Pons & Serra 2019, musicnn: Pre-trained CNNs for music audio tagging",
        7_980_235, 2.352,
    ),
    "musicnn_autopool": (
        _musicnn(block("autopool")),
        "Pons & Serra 2019 with McFee et al. 2018, Adaptive pooling operators",
        635_103, 2.352,
    ),
    "musicnn_attention": (
        _musicnn(block("attention", weights="channel", positions=True)),
        "Pons & Serra 2019, musicnn-training, after Raffel 2016",
        2_336_833, 2.352,
    ),
    "musicnn_rnn": (
        _musicnn(block("recurrent")),
        "Pons & Serra 2019, musicnn-training",
        5_278_339, 2.352,
    ),
    "musicnn_won": (
        _model(
            WON_INPUT,
            block(
                "timbral_temporal", timbral=((0.7, 7, 204), (0.4, 7, 204)),
                temporal=((129, 51), (65, 51), (33, 51)), temporal_input="mean",
                order="bn_relu", bn_epsilon=TORCH_EPSILON,
            ),
            block(
                "temporal_pooling", interleaved=False, input_bn=False, input_dropout=0.0,
                order="bn_relu", bn_epsilon=TORCH_EPSILON,
            ),
            SECONDS_3,
            midend=block("dense_residual", order="bn_relu", bn_epsilon=TORCH_EPSILON),
        ),
        f"Pons et al. 2018 as in {_WON}",
        784_300, 2.368,
    ),
    "vgg": (
        _model(MUSICNN_INPUT, block("vgg"), block("mlp"), THREE_SECONDS),
        "Pons & Serra 2019, musicnn: Pre-trained CNNs for music audio tagging",
        605_748, 2.064,
    ),
}  # fmt: skip

ARCHITECTURES: dict[str, Architecture] = {
    name: Architecture(name, *row) for name, row in _ROWS.items()
}
"""All architectures by name. None of them has weights; pretrained models are presets."""


@cache
def _layers() -> dict[str, list[str]]:
    content = resources.files(__package__).joinpath("layers.json").read_bytes()
    stated: dict[str, list[str]] = json.loads(content)
    return stated


def layer_names(config: ModelConfig) -> tuple[str, ...]:
    """Names of all layers, without Keras, of an architecture that has weights; else none."""
    for name, layers in _layers().items():
        if ARCHITECTURES[name].config == config:
            return tuple(layers)
    return ()


def get_architecture(name: str) -> ModelConfig:
    """Look up the configuration of an architecture, or raise an UnknownNameError."""
    if name not in ARCHITECTURES:
        raise UnknownNameError("architecture", name, ARCHITECTURES)
    return ARCHITECTURES[name].config
