/** Which tiles of the grid a rectangle touches that is drawn over it. */

export interface Rectangle {
  fromX: number;
  fromY: number;
  toX: number;
  toY: number;
}

interface Layout {
  count: number;
  columns: number;
  sidePx: number;
  gapPx: number;
  paddingPx: number;
}

/** Returns the tiles' places in the list; coordinates are those of all rows, whether they are on the screen or not. */
export function tilesIn(
  rectangle: Rectangle,
  { count, columns, sidePx, gapPx, paddingPx }: Layout,
): number[] {
  const pitch = sidePx + gapPx;
  const [left, right] = ordered(rectangle.fromX, rectangle.toX);
  const [top, bottom] = ordered(rectangle.fromY, rectangle.toY);
  const first = (start: number) => Math.max(0, Math.ceil((start - paddingPx - sidePx) / pitch));
  const last = (end: number) => Math.floor((end - paddingPx) / pitch);
  const found: number[] = [];
  for (let row = first(top); row <= Math.min(last(bottom), Math.ceil(count / columns)); row++) {
    for (let column = first(left); column <= Math.min(last(right), columns - 1); column++) {
      const index = row * columns + column;
      if (index < count) found.push(index);
    }
  }
  return found;
}

function ordered(one: number, other: number): [number, number] {
  return one < other ? [one, other] : [other, one];
}
