/**
 * What a file means that somebody has made elsewhere as a mask. The rules are those of the contract (Inpaint.mask), so that
 * what is shown is what the platform would do with the file.
 */

const HALF = 128;
const NEAR = 16;
const MOST = 0.95;

/** Returns how much of each pixel is repainted, 0 to 255, from four bytes for each: red, green, blue, opacity. */
export function repaintedBy(rgba: Uint8ClampedArray): Uint8Array {
  const kind = survey(rgba);
  const mask = new Uint8Array(rgba.length / 4);
  for (let index = 0, at = 0; index < mask.length; index++, at += 4) {
    const alpha = rgba[at + 3] ?? 0;
    const light = 0.299 * (rgba[at] ?? 0) + 0.587 * (rgba[at + 1] ?? 0) + 0.114 * (rgba[at + 2] ?? 0);
    mask[index] =
      kind === "picture" ? 255 - alpha : kind === "strokes" ? alpha : Math.round((light * alpha) / 255);
  }
  return mask;
}

/** A mask in black and white, strokes of one other colour on a transparent layer, or a copy of the picture with holes. */
function survey(rgba: Uint8ClampedArray): "mask" | "strokes" | "picture" {
  const least = [255, 255, 255];
  const most = [0, 0, 0];
  let [visible, plain, isOpaque] = [0, 0, true];
  for (let at = 0; at < rgba.length; at += 4) {
    const alpha = rgba[at + 3] ?? 0;
    if (alpha < 255) isOpaque = false;
    if (alpha < HALF) continue;
    visible++;
    const colour = [rgba[at] ?? 0, rgba[at + 1] ?? 0, rgba[at + 2] ?? 0];
    if (colour.every((sample) => sample <= NEAR) || colour.every((sample) => sample >= 255 - NEAR)) plain++;
    colour.forEach((sample, channel) => {
      least[channel] = Math.min(least[channel] ?? 0, sample);
      most[channel] = Math.max(most[channel] ?? 0, sample);
    });
  }
  if (isOpaque || visible === 0 || plain / visible >= MOST) return "mask";
  return most.every((sample, channel) => sample - (least[channel] ?? 0) <= NEAR) ? "strokes" : "picture";
}
