// What the JavaScript module gives, for tests: `node web_session.mjs MODULE` reads an order as JSON
// from standard input and prints JSON. Sounds are files of float32, one channel after the other.

import { readFileSync, writeFileSync } from "node:fs";

const folder = new URL(process.argv[2], "file:///");
const order = JSON.parse(readFileSync(0, "utf8"));

function floats(path) {
  const bytes = readFileSync(path);
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4).slice();
}

function soundOf({ file, rate, channels }) {
  const all = floats(file);
  const length = all.length / channels;
  const samples = Array.from({ length: channels }, (_, n) =>
    all.subarray(n * length, (n + 1) * length),
  );
  return { samples: channels === 1 ? samples[0] : samples, sampleRate: rate };
}

function* inBlocks({ samples, sampleRate }, sizes) {
  const channels = [samples].flat();
  for (let at = 0, n = 0; at < channels[0].length; n++) {
    const end = at + sizes[n % sizes.length];
    const block = channels.map((channel) => channel.subarray(at, end));
    yield block.length === 1 ? block[0] : block;
    at = end;
  }
}

async function rowsOf(tagger, sound, options) {
  const taggram = tagger.taggram(sound, options);
  const rows = [];
  for await (const { time, scores, silent } of taggram) {
    rows.push({ time, scores: [...scores], silent });
  }
  return { rows, clip: taggram.clip };
}

async function failure(action) {
  try {
    await action();
  } catch (error) {
    return { name: error.name, message: error.message };
  }
  return null;
}

const tasks = {
  async score({ model, base, runtime, sounds, hopS }) {
    const { load } = await import(new URL("tagger.js", folder).href);
    const tagger = await load(model, { base, runtime });
    const found = [];
    for (const sound of sounds.map(soundOf)) {
      found.push({
        tags: await tagger.tag(sound, { topK: Infinity }),
        embedding: [...(await tagger.embed(sound))],
        ...(await rowsOf(tagger, sound, { hopS })),
      });
    }
    tagger.dispose();
    return { info: tagger.info, found };
  },

  async blocks({ model, base, runtime, sound, sizes }) {
    const { load } = await import(new URL("tagger.js", folder).href);
    const tagger = await load(model, { base, runtime });
    const whole = soundOf(sound);
    const found = [];
    for (const each of sizes) {
      const given = { blocks: inBlocks(whole, each), sampleRate: whole.sampleRate };
      found.push(await rowsOf(tagger, given, { hopS: 1 }));
    }
    return found;
  },

  async failures({ model, base, runtime, damaged }) {
    const { load, AudioError, TaggerError } = await import(new URL("tagger.js", folder).href);
    const tagger = await load(model, { base, runtime });
    const second = new Float32Array(16_000);
    const sound = { samples: second, sampleRate: 16_000 };
    const long = { samples: new Float32Array(16_000 * 60), sampleRate: 16_000 };
    const broken = Float32Array.from(second, (_, n) => (n === 9 ? NaN : 0));
    const found = {
      name: await failure(() => load("MTT_nothing", { base, runtime })),
      runtime: await failure(() => load(model, { base, runtime: `${base}/nowhere` })),
      damaged: await failure(() => load(damaged, { runtime })),
      threads: await failure(() => load(model, { base, runtime, threads: 0 })),
      topK: await failure(() => tagger.tag(sound, { topK: 0 })),
      hopS: await failure(() => tagger.tag(sound, { hopS: -1 })),
      short: await failure(() => tagger.tag(sound, { hopS: 0.001 })),
      rate: await failure(() => tagger.tag({ samples: second, sampleRate: 7 })),
      noRate: await failure(() => tagger.tag({ samples: second, sampleRate: NaN })),
      kind: await failure(() => tagger.tag(second)),
      list: await failure(() => tagger.tag({ samples: [0.5, 0.5], sampleRate: 16_000 })),
      channels: await failure(() =>
        tagger.tag({ samples: [second, new Float32Array(5)], sampleRate: 16_000 }),
      ),
      empty: await failure(() => tagger.tag({ samples: new Float32Array(), sampleRate: 16_000 })),
      nan: await failure(() => tagger.tag({ samples: broken, sampleRate: 16_000 })),
      source: await failure(() =>
        tagger.tag({
          sampleRate: 16_000,
          blocks: (async function* () {
            yield second;
            throw new RangeError("the source broke");
          })(),
        }),
      ),
    };
    found.best = (await tagger.tag({ samples: second.map((_, n) => Math.sin(n)), sampleRate: 16_000 })).length;
    found.isAudioError = await tagger
      .tag({ samples: broken, sampleRate: 16_000 })
      .catch((error) => error instanceof AudioError && error instanceof TaggerError);
    const stopping = new AbortController();
    let rows = 0;
    found.aborted = await failure(async () => {
      for await (const row of tagger.taggram(long, { signal: stopping.signal })) {
        rows += row.scores.length > 0;
        stopping.abort();
      }
    });
    found.rows = rows;
    found.abortedBefore = await failure(() => tagger.tag(sound, { signal: AbortSignal.abort() }));
    found.abortedLoad = await failure(() =>
      load(model, { base, runtime, signal: AbortSignal.abort() }),
    );
    for await (const _ of tagger.taggram(long)) break;
    found.afterwards = (await rowsOf(tagger, sound)).rows.length;
    const pending = failure(() => tagger.tag(long));
    tagger.dispose();
    found.disposed = await pending;
    found.afterDispose = await failure(() => tagger.tag(sound));
    return found;
  },

  async patches({ grids }) {
    const { PatchGrid, PatchStream } = await import(new URL("patches.js", folder).href);
    return grids.map(({ grid, rate, hopS, length, sizes }) => {
      const stream = new PatchStream(new PatchGrid(grid, rate, hopS));
      const signal = Float32Array.from({ length }, (_, n) => n + 1);
      const patches = [];
      for (const block of inBlocks({ samples: signal }, sizes)) patches.push(...stream.feed(block));
      patches.push(...stream.finish());
      const dropped = stream.grid.droppedS(length);
      return { patches: patches.map((each) => [...each]), dropped, repeated: stream.repeated };
    });
  },

  async resample({ rates, sizes }) {
    const { Resampler } = await import(new URL("resample.js", folder).href);
    for (const { rate, file } of rates) {
      const resampler = new Resampler(rate, 16_000);
      const parts = [];
      for (const block of inBlocks({ samples: floats(file) }, sizes)) {
        parts.push(resampler.feed(block));
      }
      parts.push(resampler.finish());
      const all = parts.flatMap((part) => [...part]);
      writeFileSync(`${file}.16k`, new Uint8Array(Float32Array.from(all).buffer));
    }
    return null;
  },
};

console.log(JSON.stringify(await tasks[order.task](order)));
