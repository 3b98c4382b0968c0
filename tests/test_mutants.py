"""Files that chance has broken: a library run says which, and goes on with all others.

``MUSICNN_ZOO_MUTANTS=20000 pytest tests/test_mutants.py --log-cli-level INFO`` tries more of them.
"""

import logging
import os
import struct
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import audio_bytes as by_hand
import numpy as np
import pytest
from audio_clips import ADTS, DSD, FLAC, MKA, OPUS, PCM, TS, VORBIS, Sound, encode

from musicnn_zoo import Tagger
from musicnn_zoo.errors import AudioError, DecoderCrashError, DecoderTimeoutError

_log = logging.getLogger(__name__)

COUNT = int(os.environ.get("MUSICNN_ZOO_MUTANTS", "300"))
AT_ONCE = 500
MOST_S = 20.0
MOST_BYTES = 300 << 20
SECONDS = 1.2
HEADER = 256

SOUNDS = {
    "wav": PCM, "flac": FLAC, "ogg": VORBIS, "opus": OPUS, "aac": ADTS, "mka": MKA, "ts": TS,
    "mp3": Sound("libmp3lame", "mp3", bit_rate=128_000),
    "mp2": Sound("mp2", "mp2", bit_rate=192_000),
    "m4a": Sound("aac", "ipod", bit_rate=128_000),
    "7.1.m4a": Sound("aac", "ipod", 8, 48000, bit_rate=448_000),
    "alac.m4a": Sound("alac", "ipod", sample_format="s16p"),
    "mov": Sound("pcm_s16be", "mov", 6),
    "webm": Sound("libopus", "webm", rate=48000, bit_rate=96_000),
    "wma": Sound("wmav2", "asf", bit_rate=128_000),
    "ac3": Sound("ac3", "ac3", 6, 48000, bit_rate=448_000),
    "wv": Sound("wavpack", "wv", sample_format="s16p"),
    "tta": Sound("tta", "tta", sample_format="s16"),
    "adpcm.wav": Sound("MS_ADPCM", "WAV"),
    "float.w64": Sound("FLOAT", "W64", 1),
    "aiff": Sound("PCM_24", "AIFF", 3),
    "caf": Sound("ALAC_16", "CAF"),
    "au": Sound("ULAW", "AU"),
    "avi": Sound("pcm_s16le", "avi"),
    "flv": Sound("adpcm_swf", "flv"),
}  # fmt: skip

BOLD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def originals():
    made = {
        suffix: encode(replace(sound, seconds=SECONDS))
        for suffix, sound in SOUNDS.items()
    }  # fmt: skip
    made["chained.ogg"] = made["ogg"] + encode(replace(VORBIS, seconds=SECONDS, seed=1, rate=48000))
    made["joined.mp3"] = by_hand.id3v2(size=2000) + made["mp3"] + made["mp3"]
    for suffix in "wv", "tta", "wav", "m4a":
        made[f"joined.{suffix}"] = made[suffix] * 2
    made["edited.m4a"] = by_hand.edited(made["m4a"], (0, 1024))
    made["middle.opus"] = made["opus"][:1000] + made["opus"][2000:]
    low = Sound("aac", "adts", 1, 24000, bit_rate=48_000, seconds=SECONDS)
    made["he.aac"] = by_hand.he_adts(encode(low))
    made["he.m4a"] = by_hand.he_aac(encode(replace(low, form="ipod")), 24000, 1, kind=29)
    dsd = Sound(DSD, "dsf", rate=by_hand.DSD_RATE // by_hand.DSD_HELD, seconds=0.4)
    made["dsf"], made["dff"] = (write(dsd.at(dsd.rate)) for write in (by_hand.dsf, by_hand.dff))
    mono = replace(dsd, channels=1)
    made["mono.dsf"], made["mono.dff"] = (
        write(mono.at(mono.rate)) for write in (by_hand.dsf, by_hand.dff)
    )
    return made


def flip_bits(data, random):
    for at in random.integers(0, 8 * len(data), random.integers(1, 60)):
        data[at // 8] ^= 1 << at % 8


def overwrite(data, random):
    at = random.integers(0, len(data))
    end = min(len(data), at + random.integers(1, 2000))
    data[at:end] = random.bytes(int(end - at))


def cut_off(data, random):
    del data[random.integers(1, len(data)) :]


def leave_out(data, random):
    at = random.integers(0, len(data))
    del data[at : at + random.integers(1, len(data) // 2)]


def repeat(data, random):
    at = random.integers(0, len(data))
    part = data[at : at + random.integers(1, len(data) // 2)]
    data[at:at] = part


def put_in(data, random):
    at = random.integers(0, len(data))
    data[at:at] = random.bytes(int(random.integers(1, 5000)))


def state_another_number(data, random):
    """Write bold numbers into the header, of two or four bytes, in either order."""
    for _ in range(random.integers(1, 4)):
        at = random.integers(0, min(len(data), HEADER) - 4)
        form = ("<I", ">I", "<H", ">H", "B")[random.integers(5)]
        mask = (1 << 8 * struct.calcsize(form)) - 1
        number = BOLD_NUMBERS[random.integers(len(BOLD_NUMBERS))] & mask
        struct.pack_into(form, data, at, number)


MUTATIONS = (
    flip_bits, overwrite, cut_off, leave_out, repeat, put_in, state_another_number,
    state_another_number,
)  # fmt: skip


def mutant(data, seed):
    random = np.random.default_rng(seed)
    data = bytearray(data)
    for _ in range(random.integers(1, 4)):
        MUTATIONS[random.integers(len(MUTATIONS))](data, random)
        if len(data) < 16:
            break
    return bytes(data)


class Memory(threading.Thread):
    """The most memory that a process below this one had.

    One that was just forked, and runs no program of its own yet, still has this one's memory.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.most = 0
        self.ended = threading.Event()

    def run(self):
        own = Path("/proc/self/cmdline").read_bytes()
        while not self.ended.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    if f"\nPPid:\t{os.getpid()}\n" not in (process / "status").read_text():
                        continue
                    if (process / "cmdline").read_bytes() == own:
                        continue
                    status = (process / "status").read_text().split("\n")
                except OSError:
                    continue
                peak = [line for line in status if line.startswith("VmHWM")]
                self.most = max(self.most, *(int(line.split()[1]) << 10 for line in peak), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.filterwarnings("ignore:.* where full scale is 1")
def test_mutants_cost_themselves_only(tmp_path):
    tagger = Tagger("MTT_musicnn", engine="onnxruntime")
    kinds = originals()
    assert len(kinds) >= 10
    names = list(kinds)
    memory = Memory()
    memory.start()
    outcomes = Counter()
    longest_s = 0.0
    try:
        for start in range(0, COUNT, AT_ONCE):
            paths = []
            for seed in range(start, min(start + AT_ONCE, COUNT)):
                name = names[seed % len(names)]
                paths.append(tmp_path / f"{seed}.{name}")
                paths[-1].write_bytes(mutant(kinds[name], seed))
            seen = []
            before = time.monotonic()
            for result in tagger.tag_files(paths):
                now = time.monotonic()
                longest_s, before = max(longest_s, now - before), now
                seen.append(result.source)
                error = result.error
                if error is None:
                    assert all(np.isfinite([score for _, score in result.unwrap().ranked]))
                    outcomes["damaged" if result.unwrap().clip.damaged else "decoded"] += 1
                    continue
                assert isinstance(error, AudioError), (result.source, error)
                assert "unexpected" not in str(error), error
                kind = (
                    type(error)
                    if isinstance(error, DecoderCrashError | DecoderTimeoutError)
                    else AudioError
                )
                outcomes[kind.__name__] += 1
                if kind is not AudioError:
                    _log.info("%s", error)
            assert seen == [str(path) for path in paths]
            for path in paths:
                path.unlink()
    finally:
        memory.ended.set()
        memory.join()
    _log.info("%s; longest %.1f s; %d MiB", dict(outcomes), longest_s, memory.most >> 20)
    assert sum(outcomes.values()) == COUNT
    assert outcomes["AudioError"] > COUNT / 20
    assert outcomes["decoded"] + outcomes["damaged"] > COUNT / 5
    assert longest_s < MOST_S
    assert 0 < memory.most < MOST_BYTES
