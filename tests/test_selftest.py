from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from musicnn_zoo import Tagger, load_model
from musicnn_zoo.cli import cli, selftest
from musicnn_zoo.networks.logmel import LogMel
from musicnn_zoo.sound import read


def failed_checks():
    return [name for name, run in selftest.checks() if not run().passed]


def run_selftest():
    return CliRunner().invoke(cli, ["selftest"])


@pytest.mark.platform
def test_a_sound_installation_passes():
    result = run_selftest()
    assert result.exit_code == 0, result.output
    assert result.output.count("\nok  ") == sum(1 for _ in selftest.checks())
    assert "numpy" in result.output.splitlines()[0]


@pytest.mark.platform
def test_the_golden_scores_are_those_of_the_keras_models():
    for name, golden in selftest.golden_scores().items():
        found = Tagger(name, engine="tensorflow").taggram((selftest.make_sound(), selftest.RATE))
        np.testing.assert_allclose(found.scores.mean(axis=0), golden, rtol=0, atol=2e-4)


def test_a_wrong_resampler_is_caught(monkeypatch):
    class Linear(read.Resampler):
        def feed(self, block):
            self._received += len(block)
            count = len(block) * self.target_rate // self.sample_rate
            at = np.arange(count) * self.sample_rate / self.target_rate
            ready = np.interp(at, np.arange(len(block)), block).astype(np.float32)
            self._returned += len(ready)
            return ready

    for module in (read, selftest):
        monkeypatch.setattr(module, "Resampler", Linear)
    failed = failed_checks()
    assert {"resampler, what it keeps", "resampler, what it removes"} <= set(failed)


def test_another_mel_scale_is_caught(monkeypatch):
    true_filters = LogMel._mel

    def filters(layer, n_fft):
        layer.spectrogram = replace(layer.spectrogram, mel_scale="htk")
        return true_filters(layer, n_fft)

    monkeypatch.setattr(LogMel, "_mel", filters)
    assert "MTT_musicnn (Keras)" in failed_checks()


def test_stale_weights_are_caught(monkeypatch):
    def stale(name):
        model = load_model(name)
        for weight in model.weights:
            if "kernel" in weight.path:
                weight.assign(weight * 0.95)
        return model

    def tagger_of(name, **options):
        return Tagger(stale(name), engine="tensorflow")

    monkeypatch.setattr(selftest, "Tagger", tagger_of)
    models = [name for name, _ in selftest.checks() if "(" in name and "decoder" not in name]
    assert failed_checks() == models


def test_what_cannot_be_run_is_a_failed_check(monkeypatch):
    def broken():
        raise OSError("no such library")

    monkeypatch.setattr(selftest, "checks", lambda: iter([("decoder of FLAC", broken)]))
    result = run_selftest()
    assert result.exit_code == 1
    assert "FAIL  decoder of FLAC: no such library" in result.output
