from pathlib import Path

import av
import numpy as np

EXAMPLES = Path(__file__).parents[1] / "examples" / "audio"
HARPSICHORD = EXAMPLES / "bach_prelude_harpsichord.ogg"
STRINGS = EXAMPLES / "bach_chorale_strings.ogg"
TECHNO = EXAMPLES / "techno_loop.ogg"


def chirps(seconds=2.0, rate=44100, channels=2):
    """Smooth sweeps between 200 and 1800 Hz, another one in each channel."""
    t = np.arange(round(seconds * rate)) / rate
    sweeps = [
        0.5 * np.sin(2 * np.pi * (200 * (1 + channel) * t + 700 * t**2 / seconds))
        for channel in range(channels)
    ]
    return np.array(sweeps, np.float32)


def encode(path, signal, rate, codec, *, bit_rate=192_000, video=False, **container_options):
    """Write ``signal`` (channels, samples) by FFmpeg, in the container of the file's ending."""
    layout = {1: "mono", 2: "stereo"}[len(signal)]
    options = {name: str(value) for name, value in container_options.items()}
    with av.open(str(path), "w", container_options=options) as container:
        if video:
            pictures = container.add_stream("mpeg4", rate=10)
            pictures.width = pictures.height = 32
            pictures.pix_fmt = "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout=layout)
        sound.bit_rate = bit_rate
        if video:
            for _ in range(int(10 * signal.shape[1] / rate)):
                black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
                container.mux(pictures.encode(black))
            container.mux(pictures.encode(None))
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(signal, np.float32), format="fltp", layout=layout
        )
        frame.sample_rate = rate
        frame.pts = 0
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    return path


def cut_in_half(path):
    """Keep the first half of a file's bytes."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    return path
