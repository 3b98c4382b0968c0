"""What a forked process may use, and that it says what it may not instead of waiting forever."""

import os
import subprocess
import sys
import threading

import pytest
from conftest import CLIPS, ROOT

from musicnn_zoo.machine.processes import ForkedLock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

RUN = """
import os, sys, threading, warnings
warnings.simplefilter("ignore")
import numpy as np
import musicnn_zoo as zoo

def forked(work):
    '''What a child says of some work, or that it did not end.'''
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        import signal
        signal.alarm(150)
        try:
            said = work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, str(said).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    return os.read(reading, 10_000).decode() or "did not end"

clip = sys.argv[1]
"""


def run(code):
    done = subprocess.run(
        [sys.executable, "-c", RUN + code, CLIPS / "techno_loop.ogg"],
        capture_output=True, text=True, timeout=200, cwd=ROOT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_tensorflow_that_ran_before_the_fork_is_refused_and_onnx_runtime_goes_on():
    tags, *refused = run("""
onnx = zoo.Tagger("MTT_vgg", engine="onnxruntime")
before = onnx.tag(clip)
keras = zoo.Tagger("MTT_vgg", engine="tensorflow")
print(forked(lambda: dict(onnx.tag(clip)) == dict(before)))
print(forked(lambda: keras.tag(clip)))
print(forked(lambda: zoo.Tagger(keras.model)))
print(forked(lambda: zoo.load_model("MTT_vgg")))
""")
    assert tags == "True"
    for line in refused:
        assert line.startswith("DeviceError: TensorFlow was running before this process")
    assert len(refused) == 3


def test_locks_of_threads_that_are_not_forked_are_free():
    said = run("""
from musicnn_zoo.tagging import functions
zoo.tag(clip, model="MTT_vgg")
began, may_end = threading.Event(), threading.Event()
tagger = zoo.Tagger("MTT_musicnn")

def hold():
    with tagger._source.lock, functions._of_places._lock:
        began.set()
        may_end.wait(60)

thread = threading.Thread(target=hold)
thread.start()
began.wait(60)
print(forked(lambda: len(tagger.model.tags) + len(zoo.tag(clip, model="MTT_vgg", device="cpu"))))
may_end.set()
thread.join()
""")
    assert said == ["55"]


def test_a_lock_that_its_own_thread_holds_stays_held():
    lock = ForkedLock()
    with lock:
        lock.forget_other_threads()
        taken = []
        other = threading.Thread(target=lambda: taken.append(lock._lock.acquire(blocking=False)))
        other.start()
        other.join()
    assert taken == [False]
