/** The player's elements before anything is known of a recording. */

export const FRAME = `
<section class="player" aria-label="Player">
  <div class="transport">
    <div class="group">
      <button type="button" id="back" aria-label="Back 5 seconds">−5 s</button>
      <button type="button" id="play" class="main" disabled>Play</button>
      <button type="button" id="forward" aria-label="Forward 5 seconds">+5 s</button>
    </div>
    <output id="clock" aria-live="off">0:00.0</output>
    <label class="volume">Volume <input type="range" id="volume" min="0" max="1" step="0.05" value="1"></label>
    <div class="group" role="group" aria-label="Zoom of the time axis">
      <span class="label" aria-hidden="true">Zoom</span>
      <button type="button" id="zoom-out" aria-label="Zoom out">−</button>
      <button type="button" id="zoom-all">All</button>
      <button type="button" id="zoom-in" aria-label="Zoom in">+</button>
    </div>
  </div>
  <div class="chart">
    <span></span>
    <input type="range" id="seek" min="0" max="0" step="0.01" value="0" aria-label="Position">
    <span></span>
  </div>
  <p id="problem" role="alert" hidden></p>
</section>
<section class="chart wave" aria-label="Waveform">
  <span class="left">Waveform</span>
  <div class="plot" id="wave-plot">
    <canvas id="wave" role="img" aria-label="Waveform"></canvas>
    <div class="cursor"></div>
  </div>
  <span class="right"></span>
  <span></span>
  <div><canvas id="wave-axis" class="axis" aria-hidden="true"></canvas></div>
  <span></span>
</section>
<div class="choices">
  <fieldset id="models"><legend>Models</legend></fieldset>
  <label>Tags shown
    <select id="count"></select>
  </label>
</div>
<div id="panels"></div>
<details id="outline">
  <summary>Tags over time, as text</summary>
  <div id="outline-body"></div>
</details>
<details>
  <summary>Keyboard</summary>
  <dl class="keys">
    <dt><kbd>Space</kbd> or <kbd>K</kbd></dt><dd>play or pause</dd>
    <dt><kbd>←</kbd> <kbd>→</kbd></dt><dd>5 s back or forward; with <kbd>Shift</kbd> 1 s</dd>
    <dt><kbd>Home</kbd> <kbd>End</kbd></dt><dd>to the start or the end</dd>
    <dt><kbd>+</kbd> <kbd>−</kbd> <kbd>0</kbd></dt><dd>zoom in, out, show all</dd>
    <dt><kbd>T</kbd></dt><dd>tell the tags here (screen readers speak them)</dd>
    <dt><kbd>M</kbd></dt><dd>mute</dd>
    <dt><kbd>1</kbd> … <kbd>9</kbd></dt><dd>show or hide a model</dd>
  </dl>
</details>
<p id="status" role="status"></p>
<audio id="audio" preload="auto"></audio>
`;
