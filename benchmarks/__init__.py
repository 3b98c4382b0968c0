"""How fast and how large: this project beside what else tags music with musicnn.

    python -m benchmarks --quick                        # a few small files, to see that it works
    python -m benchmarks                                # everything, well over an hour on two cores
    python -m benchmarks --only network,coldstart --torch-python /path/to/python
    python -m benchmarks --model MSD_musicnn --previous REVISION --candidates ours,previous

It needs the project, and the internet once: Essentia and the original musicnn are installed into
environments of their own under ``benchmarks/.cache`` (3 GB). The audio is made there too. Tables
go to standard output, all numbers to ``benchmarks/results/<name>.json``.

What is believed are ratios. All candidates of a part are loaded, each in a process of its own, and
take turns (A B C A B C …); one waits while another runs; the first turn is not counted. A ratio
is that of the medians, its spread goes from the smallest to the largest ratio of one round.

Ratios differ between processors: TensorFlow turns its oneDNN kernels on by itself only where there
is AVX512_VNNI or AMX, and needs about twice the time without them. So the tables say which
instructions the machine has, and the network is also timed with ``TF_ENABLE_ONEDNN_OPTS=0``.

Parts
-----
``network``
    16 patches of 3 s of noise through a model, MTT_musicnn by default, mel included: the plain
    Keras graph, this project's engines, a bare ONNX Runtime session with default options on the
    whole model (no filter left out), and PyTorch (the same layers and weights, written with
    ``torch.nn.functional``).
``endtoend``
    Tagging 50 files of 1 to 4 minutes, and 300 clips of 10 s, models loaded beforehand.
``memory``
    Peak resident memory of a fresh process that tags one file, against its length; without that of
    the process in which this project decodes.
``coldstart``
    A fresh process that tags one clip of 30 s, from its start to its end.

The peers
---------
Previous
    This project at another revision, in a worktree of git, with the libraries of now.
Essentia
    ``MonoLoader(sampleRate=16000, resampleQuality=4)``, as its documentation has it, into
    ``TensorflowPredictMusiCNN(patchHopSize=187)``: patches without overlap, as ours. Its graph is
    this project's Keras model after the log-mel, frozen, which is as fast there as the frozen
    graph of the original. Quality 4 is a fast linear interpolation that moves the scores a
    little; one clip is of 16 kHz, where nobody resamples, to show that the rest is the same.
Original
    musicnn 0.1.0 from PyPI, its own code, graph and checkpoints, unchanged: ``extractor(path,
    extract_features=False)``, which is all that its ``top_tags`` computes. It calls TensorFlow 1
    through ``tf.compat.v1`` already, so nothing is shimmed. Only its pins are passed over: it
    gets TensorFlow 2.18 with tf-keras and ``TF_USE_LEGACY_KERAS=1``, which bring back
    ``tf.compat.v1.layers``; NumPy 1.26, as its float16 spectrogram overflows under NumPy 2; and
    librosa 0.11, whose resampler is faster than that of its time. Python 3.9 to 3.12 have them
    (``--python``).
"""
