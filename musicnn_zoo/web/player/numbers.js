/** Numbers and times, as the page writes them and as Python does. */

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** Minutes and seconds: 62.8 becomes 1:02.8. */
export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const minutes = Math.floor(tenths / 600);
  const rest = ((tenths - minutes * 600) / 10).toFixed(1);
  return `${minutes}:${rest.padStart(4, "0")}`;
}

/** Seconds as a screen reader should speak them. */
export function spoken(seconds) {
  const whole = Math.floor(seconds);
  const minutes = Math.floor(whole / 60);
  const part = (count, unit) => `${count} ${unit}${count === 1 ? "" : "s"}`;
  return minutes ? `${part(minutes, "minute")} ${part(whole % 60, "second")}` : part(whole, "second");
}

/** The shortest decimal that gives the same 32-bit float back. */
export function shortest(value) {
  for (let digits = 1; digits < 9; digits += 1) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return Number(text);
  }
  return Number(value.toPrecision(9));
}

/** Six decimals as Python writes them: what lies half-way goes to the even one. */
export function sixDecimals(value) {
  const millionths = value * 1e6; // exact for a 32-bit float
  const below = Math.floor(millionths);
  const half = millionths - below === 0.5;
  return half ? ((below + (below % 2)) / 1e6).toFixed(6) : value.toFixed(6);
}

/** Decode base64. */
export function bytesOf(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let at = 0; at < bytes.length; at += 1) bytes[at] = characters.charCodeAt(at);
  return bytes;
}

/** An array of at least a length, with what was in it. */
export function grown(array, length) {
  if (array.length >= length) return array;
  const larger = new array.constructor(Math.max(length, 2 * array.length, 64));
  larger.set(array);
  return larger;
}
