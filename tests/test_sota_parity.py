"""The checkpoints of sota-music-tagging-models give what their PyTorch models gave."""

import numpy as np
import pytest
from conftest import SHARED

from musicnn_zoo import Tagger, load_model
from musicnn_zoo.zoo.catalogue import PRESETS

CHECKPOINTS = SHARED / "checkpoints" / "sota"
REFERENCE = SHARED / "reference" / "sota"
AUDIO = SHARED / "reference" / "audio"
MODELS = {
    "MTT_fcn": "mtat_fcn",
    "MSD_fcn": "msd_fcn",
    "Jamendo_fcn": "jamendo_fcn",
    "MTT_crnn": "mtat_crnn",
    "MSD_crnn": "msd_crnn",
    "Jamendo_crnn": "jamendo_crnn",
    "MTT_musicnn_won": "mtat_musicnn",
    "Jamendo_musicnn": "jamendo_musicnn",
}

MARGINS = {"joram": 3e-4}
"""Of scores. The upper bands of this MP3 at 16 kHz hold nothing but rounding noise, which these
models see in decibels: noise of half a bit of a float, 3e-8, changes scores by 2e-4.
"""

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason=f"the reference outputs are not at {SHARED}"
)


def test_every_checkpoint_of_the_web_is_compared() -> None:
    assert set(MODELS) == {n for n, preset in PRESETS.items() if preset.sources[0].kind == "web"}


@pytest.mark.torch
@pytest.mark.parametrize("name", MODELS)
def test_chunks(name: str) -> None:
    path = CHECKPOINTS / f"{MODELS[name]}.pth"
    model = load_model(name, weights=path)
    assert model.provenance.license == "MIT", "the SHA-256 is not that of the preset"
    assert "Minz Won" in model.provenance.notice
    tagger = Tagger(model, device="cpu")
    references = sorted(REFERENCE.glob(f"*.{MODELS[name]}.npz"))
    assert len(references) >= 4
    for reference in references:
        clip = reference.name.partition(".")[0]
        (audio,) = AUDIO.glob(f"{clip}.*")
        chunks = np.load(reference)["chunks"]
        scores = tagger.taggram(audio).scores
        assert scores.shape == chunks.shape, clip
        margin = MARGINS.get(clip, 1e-4)
        np.testing.assert_allclose(scores, chunks, rtol=0, atol=margin, err_msg=clip)


@pytest.mark.torch
@pytest.mark.parametrize("name", MODELS)
def test_the_filterbank_of_the_checkpoint_is_ours(name: str) -> None:
    """The checkpoint carries torchaudio's mel filters, which we compute."""
    import torch
    from librosa.filters import mel

    state = torch.load(CHECKPOINTS / f"{MODELS[name]}.pth", map_location="cpu", weights_only=True)
    signal = PRESETS[name].config.input
    ours = mel(
        sr=signal.sample_rate, n_fft=signal.n_fft, n_mels=signal.n_mels, fmin=signal.f_min,
        fmax=signal.f_max, htk=signal.mel_scale == "htk", norm=signal.mel_norm,
    )  # fmt: skip
    np.testing.assert_allclose(ours.T, state["spec.mel_scale.fb"].numpy(), atol=2e-5)


@pytest.mark.torch
def test_parameters_are_those_of_the_checkpoints() -> None:
    import torch

    for name, file in MODELS.items():
        state = torch.load(CHECKPOINTS / f"{file}.pth", map_location="cpu", weights_only=True)
        trained = sum(
            value.numel()
            for key, value in state.items()
            if not key.startswith("spec.") and "running_" not in key and "num_batches" not in key
        )
        assert trained == PRESETS[name].architecture.parameters, name
