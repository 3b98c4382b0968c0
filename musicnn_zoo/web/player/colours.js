/** Light and dark, and the scale of colours from score 0 to the highest. */

import { find } from "./elements.js";

const SCALES = {
  light: [[255, 255, 255], [198, 219, 239], [66, 146, 198], [8, 81, 156], [8, 29, 70]],
  dark: [[16, 21, 27], [22, 60, 100], [30, 119, 180], [110, 190, 240], [255, 250, 220]],
};

/** Colours of the moment: 256 pixels of the scale, and those that the style sheet names. */
export const colours = { scale: new Uint32Array(256), ink: {} };

function choose() {
  const dark = document.documentElement.classList.contains("dark");
  const stops = SCALES[dark ? "dark" : "light"];
  for (let level = 0; level < 256; level += 1) {
    const at = (level / 255) * (stops.length - 1);
    const below = Math.min(stops.length - 2, Math.floor(at));
    const [red, green, blue] = stops[below].map((channel, index) =>
      Math.round(channel + (stops[below + 1][index] - channel) * (at - below)),
    );
    colours.scale[level] = (255 << 24) | (blue << 16) | (green << 8) | red;
  }
  const style = getComputedStyle(document.documentElement);
  colours.ink = Object.fromEntries(
    ["ink", "faint", "wave", "paper", "accent", "cursor"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]),
  );
  find("theme").textContent = dark ? "Light" : "Dark";
  find("theme").setAttribute("aria-label", dark ? "Use light colours" : "Use dark colours");
}

/** Follow the system, and the button `#theme`, which calls for a drawing. */
export function followTheme(redraw) {
  if (window.matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.classList.add("dark");
  choose();
  find("theme").addEventListener("click", () => {
    document.documentElement.classList.toggle("dark");
    choose();
    redraw();
  });
}
