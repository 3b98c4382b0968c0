"""What computes a model: Keras on its backend, or ONNX Runtime on a graph made from Keras."""
