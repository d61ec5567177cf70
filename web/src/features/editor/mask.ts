/**
 * What is to be repainted: one byte for each pixel of the picture, 0 kept and 255 repainted. Pixels alone; nothing here knows
 * a canvas.
 */

import type { Point } from "@/components/view";

export interface Rect {
  left: number;
  top: number;
  /** The first column and row that aren't in it any more. */
  right: number;
  bottom: number;
}

/** What the pointer draws with, in pixels of the picture. */
export interface Brush {
  radiusPx: number;
  /** 1: the same up to its edge; 0: softer from the middle on. */
  hardness: number;
  erases: boolean;
}

export interface Mask {
  readonly widthPx: number;
  readonly heightPx: number;
  readonly pixels: Uint8Array;
}

/** Dabs of a stroke stand this share of the radius apart, so close that a stroke has a smooth edge. */
const SPACING = 0.2;

export function emptyMask(widthPx: number, heightPx: number): Mask {
  return { widthPx, heightPx, pixels: new Uint8Array(widthPx * heightPx) };
}

/** Draws a straight stroke with round ends and returns what it may have changed; undefined: it missed the picture. */
export function stroke(mask: Mask, from: Point, to: Point, brush: Brush): Rect | undefined {
  const length = Math.hypot(to.x - from.x, to.y - from.y);
  const count = Math.max(1, Math.ceil(length / Math.max(0.5, brush.radiusPx * SPACING)));
  for (let at = 0; at <= count; at++) {
    const share = at / count;
    dab(mask, from.x + (to.x - from.x) * share, from.y + (to.y - from.y) * share, brush);
  }
  const reach = Math.ceil(brush.radiusPx) + 1;
  return within(mask, {
    left: Math.floor(Math.min(from.x, to.x)) - reach,
    top: Math.floor(Math.min(from.y, to.y)) - reach,
    right: Math.ceil(Math.max(from.x, to.x)) + reach,
    bottom: Math.ceil(Math.max(from.y, to.y)) + reach,
  });
}

/** Repaints everything, or keeps everything. */
export function fill(mask: Mask, value: 0 | 255): void {
  mask.pixels.fill(value);
}

/** Repaints what was kept, and keeps what was repainted. */
export function invert(mask: Mask): void {
  const { pixels } = mask;
  for (let index = 0; index < pixels.length; index++) pixels[index] = 255 - (pixels[index] ?? 0);
}

/** The share of the picture that is repainted by half or more, 0 to 1. */
export function coverage(mask: Mask): number {
  let repainted = 0;
  for (const value of mask.pixels) if (value >= 128) repainted++;
  return repainted / mask.pixels.length;
}

/** The bytes of a part of the mask, row by row. */
export function cut(mask: Mask, { left, top, right, bottom }: Rect): Uint8Array {
  const width = right - left;
  const part = new Uint8Array(width * (bottom - top));
  for (let y = top; y < bottom; y++) {
    const start = y * mask.widthPx + left;
    part.set(mask.pixels.subarray(start, start + width), (y - top) * width);
  }
  return part;
}

/** Puts back what `cut` took out. */
export function paste(mask: Mask, { left, top, right, bottom }: Rect, part: Uint8Array): void {
  const width = right - left;
  for (let y = top; y < bottom; y++) {
    const row = (y - top) * width;
    mask.pixels.set(part.subarray(row, row + width), y * mask.widthPx + left);
  }
}

export function whole(mask: Mask): Rect {
  return { left: 0, top: 0, right: mask.widthPx, bottom: mask.heightPx };
}

export function union(one: Rect | undefined, other: Rect | undefined): Rect | undefined {
  if (!one || !other) return one ?? other;
  return {
    left: Math.min(one.left, other.left),
    top: Math.min(one.top, other.top),
    right: Math.max(one.right, other.right),
    bottom: Math.max(one.bottom, other.bottom),
  };
}

/** One touch of the brush. Strokes that overlap don't add up: the strongest counts. */
function dab(mask: Mask, x: number, y: number, { radiusPx, hardness, erases }: Brush): void {
  const area = within(mask, {
    left: Math.floor(x - radiusPx),
    top: Math.floor(y - radiusPx),
    right: Math.ceil(x + radiusPx) + 1,
    bottom: Math.ceil(y + radiusPx) + 1,
  });
  if (!area) return;
  const core = radiusPx * hardness;
  const slope = Math.max(1, radiusPx - core);
  for (let row = area.top; row < area.bottom; row++) {
    for (let column = area.left; column < area.right; column++) {
      const distance = Math.hypot(column + 0.5 - x, row + 0.5 - y);
      const strength = Math.round(255 * Math.min(1, Math.max(0, (radiusPx - distance) / slope)));
      if (strength === 0) continue;
      const index = row * mask.widthPx + column;
      const before = mask.pixels[index] ?? 0;
      mask.pixels[index] = erases ? Math.min(before, 255 - strength) : Math.max(before, strength);
    }
  }
}

function within({ widthPx, heightPx }: Mask, rect: Rect): Rect | undefined {
  const left = Math.max(0, rect.left);
  const top = Math.max(0, rect.top);
  const right = Math.min(widthPx, rect.right);
  const bottom = Math.min(heightPx, rect.bottom);
  return left < right && top < bottom ? { left, top, right, bottom } : undefined;
}
