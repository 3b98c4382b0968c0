"""State dicts as other projects name them, written out here and not by the code under test."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

State = dict[str, NDArray[Any]]


def musicnn_pytorch_state(model: Any) -> State:
    """Weights of a musicnn under the names and in the layouts of oriyonay/musicnn-pytorch."""
    state: State = {}

    def batchnorm(theirs: str, ours: str) -> None:
        gamma, beta, mean, variance = (np.asarray(w) for w in model.get_layer(ours).weights)
        state[f"{theirs}.weight"], state[f"{theirs}.bias"] = gamma, beta
        state[f"{theirs}.running_mean"], state[f"{theirs}.running_var"] = mean, variance
        state[f"{theirs}.num_batches_tracked"] = np.array(7)

    def map_convolution(theirs: str, ours: str) -> None:
        kernel, bias = (np.asarray(w) for w in model.get_layer(ours).weights)
        state[f"{theirs}.weight"] = np.einsum("tfio->oitf", kernel)
        state[f"{theirs}.bias"] = bias

    def sequence_convolution(theirs: str, ours: str) -> None:
        kernel, bias = (np.asarray(w) for w in model.get_layer(ours).weights)
        state[f"{theirs}.weight"] = np.einsum("tio->oti", kernel)[:, np.newaxis]
        state[f"{theirs}.bias"] = bias

    def dense(theirs: str, ours: str) -> None:
        kernel, bias = (np.asarray(w) for w in model.get_layer(ours).weights)
        state[f"{theirs}.weight"], state[f"{theirs}.bias"] = kernel.T, bias

    batchnorm("bn_input", "input_bn")
    for theirs, ours in (
        ("timbral_1", "timbral_38"),
        ("timbral_2", "timbral_67"),
        ("temp_1", "temporal_128"),
        ("temp_2", "temporal_64"),
        ("temp_3", "temporal_32"),
    ):
        map_convolution(f"{theirs}.conv_block.conv", f"frontend_{ours}")
        batchnorm(f"{theirs}.conv_block.bn", f"frontend_{ours}_bn")
    for number, normalization in ((1, "cnn1"), (2, "midend_conv2_bn"), (3, "midend_conv3_bn")):
        sequence_convolution(f"midend.c{number}_conv", f"midend_conv{number}")
        batchnorm(f"midend.c{number}_bn", normalization)
    batchnorm("backend.bn_in", "backend_bn")
    dense("backend.fc1", "backend_dense")
    batchnorm("backend.bn_fc1", "penultimate")
    dense("backend.fc2", "logits")
    return {name: np.ascontiguousarray(value) for name, value in state.items()}
