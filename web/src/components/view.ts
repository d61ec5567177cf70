/** Which part of a picture is seen, and how large: a point of the picture is at `scale` times itself, moved by x and y. */

export interface Point {
  x: number;
  y: number;
}

export interface View {
  /** Pixels of the screen for each pixel of the picture. */
  scale: number;
  x: number;
  y: number;
}

interface Sides {
  widthPx: number;
  heightPx: number;
}

const SMALLEST = 0.05;
const LARGEST = 32;
const MARGIN_PX = 24;

/** Shows all of a picture in the middle; a small one isn't made larger than four times. */
export function fitted(picture: Sides, screen: Sides): View {
  const scale = Math.min(
    4,
    Math.max(SMALLEST, (screen.widthPx - MARGIN_PX) / picture.widthPx),
    Math.max(SMALLEST, (screen.heightPx - MARGIN_PX) / picture.heightPx),
  );
  return {
    scale,
    x: (screen.widthPx - picture.widthPx * scale) / 2,
    y: (screen.heightPx - picture.heightPx * scale) / 2,
  };
}

/** Makes everything larger by a factor, but for the point under the pointer, which stays where it is. */
export function zoomed(view: View, factor: number, pointer: Point): View {
  const scale = Math.min(LARGEST, Math.max(SMALLEST, view.scale * factor));
  const real = scale / view.scale;
  return {
    scale,
    x: pointer.x - (pointer.x - view.x) * real,
    y: pointer.y - (pointer.y - view.y) * real,
  };
}

export function panned(view: View, x: number, y: number): View {
  return { ...view, x: view.x + x, y: view.y + y };
}

/** Two fingers: what was between them stays between them. */
export function pinched(view: View, before: [Point, Point], after: [Point, Point]): View {
  const [from, to] = [middle(before), middle(after)];
  const factor = apart(after) / Math.max(1, apart(before));
  return panned(zoomed(view, factor, from), to.x - from.x, to.y - from.y);
}

export function toPicture(view: View, { x, y }: Point): Point {
  return { x: (x - view.x) / view.scale, y: (y - view.y) / view.scale };
}

function middle([one, other]: [Point, Point]): Point {
  return { x: (one.x + other.x) / 2, y: (one.y + other.y) / 2 };
}

function apart([one, other]: [Point, Point]): number {
  return Math.hypot(one.x - other.x, one.y - other.y);
}
