/** How far a picture is to grow at each side, for painting on beyond its edges. */

export interface Frame {
  left: number;
  top: number;
  right: number;
  bottom: number;
}

export type Side = keyof Frame;

export const NO_FRAME: Frame = { left: 0, top: 0, right: 0, bottom: 0 };
export const SIDES: Side[] = ["left", "right", "top", "bottom"];

/** Sides of pictures are multiples of it. */
const STEP_PX = 8;

interface Sides {
  widthPx: number;
  heightPx: number;
}

export function grown({ widthPx, heightPx }: Sides, frame: Frame): Sides {
  return {
    widthPx: widthPx + frame.left + frame.right,
    heightPx: heightPx + frame.top + frame.bottom,
  };
}

export function isGrown(frame: Frame): boolean {
  return SIDES.some((side) => frame[side] > 0);
}

/** Lets one side grow by about so many pixels: the sum is a multiple of 8, and not above the largest side. */
export function withSide(
  frame: Frame,
  side: Side,
  growthPx: number,
  picture: Sides,
  largestPx: number,
): Frame {
  const own = side === "left" || side === "right" ? picture.widthPx : picture.heightPx;
  const across = frame[OPPOSITE[side]];
  if (!(growthPx > 0)) return { ...frame, [side]: 0 };
  const wanted = Math.round((own + across + growthPx) / STEP_PX) * STEP_PX;
  const most = Math.floor(largestPx / STEP_PX) * STEP_PX;
  return { ...frame, [side]: Math.max(0, Math.min(wanted, most) - own - across) };
}

/** Which side a point that is dragged belongs to: the one whose edge it is nearest to. */
export function nearestSide({ x, y }: { x: number; y: number }, picture: Sides, frame: Frame): Side {
  const distances: Record<Side, number> = {
    left: Math.abs(x + frame.left),
    top: Math.abs(y + frame.top),
    right: Math.abs(x - picture.widthPx - frame.right),
    bottom: Math.abs(y - picture.heightPx - frame.bottom),
  };
  return SIDES.reduce((best, side) => (distances[side] < distances[best] ? side : best));
}

/** How far a side has grown when its edge is dragged to a point of the picture. */
export function draggedTo(side: Side, { x, y }: { x: number; y: number }, picture: Sides): number {
  const growth = { left: -x, top: -y, right: x - picture.widthPx, bottom: y - picture.heightPx };
  return growth[side];
}

const OPPOSITE: Record<Side, Side> = { left: "right", right: "left", top: "bottom", bottom: "top" };
