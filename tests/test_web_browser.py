"""The JavaScript module in Chromium: in a worker, under a strict policy, from any server."""

import base64
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
from conftest import CLIPS
from helpers_audio import TECHNO
from helpers_pages import watched
from helpers_web import on_any_server, serving_site

import musicnn_zoo
from musicnn_zoo.sound.read import load_audio
from musicnn_zoo.web.site import write_site

pytestmark = pytest.mark.browser

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:;
 script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self'">
<title>test</title>"""

SHARED = """
const floats = (text) =>
  new Float32Array(Uint8Array.from(atob(text), (each) => each.charCodeAt(0)).buffer);
const failure = async (action) => {
  try { await action(); } catch (error) { return [error.name, error.message]; }
  return null;
};
const { load, ...errors } = await import("/lib/tagger.js");
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory, web_runtime):
    folder = tmp_path_factory.mktemp("site") / "site"
    written = write_site(folder, models=["MSD_musicnn", "MTT_vgg"], runtime=web_runtime)
    (folder / "index.html").write_text(PAGE)  # the page itself has tests of its own
    return written


@contextmanager
def opened(chromium, url):
    """Open a page; gives how to run code in it."""
    with watched(chromium, url) as tab:
        tab.goto(url)
        yield lambda code, *given: tab.evaluate(
            f"async (given) => {{ {SHARED} {code} }}", list(given)
        )


@pytest.fixture(scope="module")
def page(chromium, site):
    with serving_site(site) as server, opened(chromium, server.url) as run:
        yield run


def as_text(signal):
    return base64.b64encode(np.asarray(signal, "<f4").tobytes()).decode()


SCORE = """
const [model, threads, clips, hopS] = given;
const progress = {};
const tagger = await load(model, {
  base: "./", threads, progress: ({ part, loaded, total }) => (progress[part] = [loaded, total]),
});
const found = [];
for (const clip of clips) {
  const sound = { samples: floats(clip), sampleRate: 16000 };
  const rows = [];
  for await (const row of tagger.taggram(sound, { hopS })) rows.push([...row.scores]);
  const tags = await tagger.tag(sound, { topK: Infinity });
  found.push({ rows, tags, embedding: [...(await tagger.embed(sound))] });
}
tagger.dispose();
return { found, progress, isolated: crossOriginIsolated };
"""


@pytest.mark.parametrize(("isolated", "threads"), [(True, 2), (False, None)])
def test_the_shipped_clips_have_the_same_scores(chromium, site, isolated, threads) -> None:
    model = "MSD_musicnn" if isolated else "MTT_vgg"
    clips = [load_audio(path).samples for path in sorted(CLIPS.glob("*.ogg"))]
    with (
        serving_site(site) if isolated else on_any_server(site.folder) as server,
        opened(chromium, getattr(server, "url", server)) as run,
    ):
        ran = run(SCORE, model, threads, [as_text(clip) for clip in clips], None)
    assert ran["isolated"] == isolated
    sizes = [site.files[name] for name in (f"models/{model}/model.onnx",
                                           "runtime/ort-wasm-simd-threaded.wasm")]  # fmt: skip
    assert [ran["progress"][part] for part in ("model", "runtime")] == [[n, n] for n in sizes]
    for clip, found in zip(clips, ran["found"], strict=True):
        given = {"model": model, "sample_rate": 16_000}
        tags = musicnn_zoo.tag(clip, top_k=50, **given)
        assert [each["tag"] for each in found["tags"][:3]] == list(tags.names[:3])
        scores = {each["tag"]: each["score"] for each in found["tags"]}
        assert scores == pytest.approx(dict(tags), abs=1e-5)
        rows = musicnn_zoo.taggram(clip, **given).scores
        np.testing.assert_allclose(found["rows"], rows, atol=1e-5)
        embedding = musicnn_zoo.embed(clip, **given).values
        np.testing.assert_allclose(found["embedding"], embedding, atol=1e-4)


def test_a_buffer_of_the_browser_with_channels(page) -> None:
    signal, rate = soundfile.read(TECHNO, dtype="float32", always_2d=True, frames=7 * 44_100)
    ran = page(
        """
        const [channels, sampleRate] = given;
        const parts = channels.map(floats);
        const buffer = new AudioBuffer({
          length: parts[0].length, numberOfChannels: parts.length, sampleRate,
        });
        parts.forEach((part, n) => buffer.copyToChannel(part, n));
        const tagger = await load("MSD_musicnn", { base: "./" });
        const tags = await tagger.tag(buffer, { topK: 50 });
        tagger.dispose();
        return tags;
        """,
        [as_text(channel) for channel in signal.T],
        rate,
    )
    tags = musicnn_zoo.tag(signal.T, sample_rate=rate, model="MSD_musicnn", top_k=50)
    scores = {each["tag"]: each["score"] for each in ran}
    assert scores == pytest.approx(dict(tags), abs=5e-3)
    assert [each["tag"] for each in ran[:3]] == list(tags.names[:3])


def test_sounds_come_as_they_are_taken_and_several_at_once(page) -> None:
    """A source that never ends is not read ahead of; two runs of one tagger do not mix."""
    ran = page(
        """
        const tagger = await load("MSD_musicnn", { base: "./" });
        let given1 = 0;
        async function* endless() {
          for (;;) { given1++; yield new Float32Array(16000).fill(0.01); }
        }
        const rows = tagger.taggram({ blocks: endless(), sampleRate: 16000 })
          [Symbol.asyncIterator]();
        await rows.next();
        await new Promise((done) => setTimeout(done, 1500));
        const ahead = given1;
        const tone = { samples: Float32Array.from({ length: 96000 }, (_, n) => Math.sin(n / 9)),
                       sampleRate: 16000 };
        const alone = await tagger.tag(tone);
        const [one, other] = await Promise.all([tagger.tag(tone), tagger.tag(tone)]);
        const third = await rows.next();
        await rows.return();
        await new Promise((done) => setTimeout(done, 300));
        const stopped = given1;
        await new Promise((done) => setTimeout(done, 300));
        const result = [ahead, alone, one, other, third.value.time, given1 - stopped];
        tagger.dispose();
        return result;
        """
    )
    ahead, alone, one, other, time, after = ran
    assert 3 <= ahead < 80
    assert one == other == alone
    assert len(alone) == 5
    assert time == pytest.approx(2.992)
    assert after <= 1


def test_what_goes_wrong_is_said_and_stopping_stops(page) -> None:
    ran = page(
        """
        const options = { base: "./" };
        const tagger = await load("MSD_musicnn", options);
        const long = { samples: new Float32Array(16000 * 600), sampleRate: 16000 };
        const stopping = new AbortController();
        let rows = 0;
        const aborted = await failure(async () => {
          for await (const row of tagger.taggram(long, { signal: stopping.signal })) {
            rows += row.scores.length / 50;
            stopping.abort();
          }
        });
        const early = new AbortController();
        const loading = failure(() => load("MTT_vgg", { ...options, signal: early.signal }));
        early.abort();
        const broken = { samples: new Float32Array(9).fill(NaN), sampleRate: 16000 };
        const isAudioError = await tagger.tag(broken)
          .catch((error) => error instanceof errors.AudioError);
        const hop = await failure(() => tagger.tag(long, { hopS: -1 }));
        const pending = failure(() => tagger.tag(long));
        tagger.dispose();
        return {
          aborted, rows, isAudioError, hop, loading: await loading,
          pending: await pending, disposed: await failure(() => tagger.tag(long)),
        };
        """
    )
    assert (ran["rows"], ran["isAudioError"]) == (1, True)
    assert [ran[name][0] for name in ("aborted", "loading")] == ["AbortError"] * 2
    kind, said = ran["hop"]  # refused in the worker
    assert (kind, said[:38]) == ("ArgumentError", "hopS must be a positive number of seco")
    disposed = ["TaggerError", "the tagger was disposed of"]
    assert ran["pending"] == ran["disposed"] == disposed


def test_files_that_are_not_there(chromium, site) -> None:
    """The browser itself writes of a 404 to the console, so that it may complain here."""
    with serving_site(site) as server:
        context = chromium.new_context()
        tab = context.new_page()
        tab.goto(server.url)
        ran = tab.evaluate(
            f"""async () => {{ {SHARED}
            return [
              await failure(() => load("nothing", {{ base: "./" }})),
              await failure(() => load("MTT_vgg", {{ base: "./", runtime: "./lib/" }})),
              await failure(() => load("MTT_vgg", {{ base: "./", runtime: "./lib/ort.js" }})),
            ]; }}"""
        )
        context.close()
    assert [kind for kind, _ in ran] == ["ModelError", "RuntimeLoadError", "RuntimeLoadError"]
    assert "models/nothing/model.json: the model cannot be read (status 404)" in ran[0][1]
    assert "lib/ort-wasm-simd-threaded.wasm: the runtime cannot be read" in ran[1][1]
