"""Sound files to mono blocks, each at its own sample rate.

For each format the better of FFmpeg (through PyAV) and libsndfile leads, and the other goes on from
the sample where it stops. What was decoded counts, not what a header claims: lengths come
from frames, and rate, channels and codec are those of each frame.
"""

from __future__ import annotations

from musicnn_zoo.decoding.decoded import Block as Block
from musicnn_zoo.decoding.decoded import Decoded as Decoded
from musicnn_zoo.decoding.files import OnDamage as OnDamage
from musicnn_zoo.decoding.files import RiskyFile as RiskyFile
from musicnn_zoo.decoding.files import decode_file as decode_file
from musicnn_zoo.decoding.pipe import decode_pipe as decode_pipe
