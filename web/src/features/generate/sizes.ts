/** Sizes of pictures by their shape. */

export const RATIOS = ["1:1", "4:3", "3:2", "16:9", "3:4", "2:3", "9:16"] as const;
export type Ratio = (typeof RATIOS)[number];

const USUAL_SIDE_PX = 512;
/** Models of the usual size or larger were made with sides of whole 64s; the platform takes whole 8s. */
const COARSE_PX = 64;
const FINE_PX = 8;

export interface Size {
  widthPx: number;
  heightPx: number;
}

/** The size of a shape that has about as many pixels as the model was made for, with no side above the tier's limit. */
export function sizeFor(ratio: Ratio, native: Size | undefined, largestPx: number): Size {
  const area = native ? native.widthPx * native.heightPx : USUAL_SIDE_PX ** 2;
  const [across = 1, down = 1] = ratio.split(":").map(Number);
  const step = area < USUAL_SIDE_PX ** 2 ? FINE_PX : COARSE_PX;
  const width = Math.sqrt((area * across) / down);
  const height = area / width;
  const scale = Math.min(1, largestPx / Math.max(width, height));
  const rounded = (side: number) =>
    Math.min(Math.floor(largestPx / step), Math.max(1, Math.round((side * scale) / step))) * step;
  return { widthPx: rounded(width), heightPx: rounded(height) };
}
