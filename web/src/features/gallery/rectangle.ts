/** Which tiles of the grid a rectangle touches that is drawn over it. */

import type { TileRow } from "./rows";

export interface Rectangle {
  fromX: number;
  fromY: number;
  toX: number;
  toY: number;
}

interface Layout {
  rows: (TileRow & { topPx: number })[];
  sidePx: number;
  gapPx: number;
  paddingPx: number;
}

/** Returns the tiles' places in the list; coordinates are those of all rows, whether they are on the screen or not. */
export function tilesIn(rectangle: Rectangle, { rows, sidePx, gapPx, paddingPx }: Layout): number[] {
  const pitch = sidePx + gapPx;
  const [left, right] = ordered(rectangle.fromX, rectangle.toX);
  const [top, bottom] = ordered(rectangle.fromY, rectangle.toY);
  const firstColumn = Math.max(0, Math.ceil((left - paddingPx - sidePx) / pitch));
  const lastColumn = Math.floor((right - paddingPx) / pitch);
  const found: number[] = [];
  for (const { first, count, topPx } of rows) {
    if (topPx + sidePx < top || topPx > bottom) continue;
    for (let column = firstColumn; column <= Math.min(lastColumn, count - 1); column++) {
      found.push(first + column);
    }
  }
  return found;
}

function ordered(one: number, other: number): [number, number] {
  return one < other ? [one, other] : [other, one];
}
