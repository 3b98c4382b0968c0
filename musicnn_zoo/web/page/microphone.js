/** In the thread of the sound: hand on what the microphone hears, mono, about five times a second. */

const LENGTH = Math.round(sampleRate / 5);

class Recorder extends AudioWorkletProcessor {
  block = new Float32Array(LENGTH);
  taken = 0;

  process([channels]) {
    const length = channels.length ? channels[0].length : 0;
    for (let at = 0; at < length; at += 1) {
      let sum = 0;
      for (const channel of channels) sum += channel[at];
      this.block[this.taken] = sum / channels.length;
      this.taken += 1;
      if (this.taken === LENGTH) {
        this.port.postMessage(this.block, [this.block.buffer]);
        this.block = new Float32Array(LENGTH);
        this.taken = 0;
      }
    }
    return true;
  }
}

registerProcessor("recorder", Recorder);
