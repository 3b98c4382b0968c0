"""Sound files to mono blocks, each at its own sample rate.

FFmpeg (through PyAV) decodes all formats that it knows; libsndfile decodes others, and goes on
from the sample where FFmpeg cannot. What was decoded counts, not what a header claims: lengths come
from frames, and rate, channels and codec are those of each frame.
"""

from __future__ import annotations

from musicnn_zoo.decoding.decoded import Block as Block
from musicnn_zoo.decoding.decoded import Decoded as Decoded
from musicnn_zoo.decoding.files import OnDamage as OnDamage
from musicnn_zoo.decoding.files import RiskyFile as RiskyFile
from musicnn_zoo.decoding.files import decode_file as decode_file
from musicnn_zoo.decoding.pipe import decode_pipe as decode_pipe
