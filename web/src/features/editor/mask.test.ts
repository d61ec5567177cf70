import { expect, test } from "vitest";
import { type Brush, coverage, cut, emptyMask, fill, invert, paste, stroke, union, whole } from "./mask";

const HARD: Brush = { radiusPx: 4, hardness: 1, erases: false };

function at(mask: { widthPx: number; pixels: Uint8Array }, x: number, y: number): number | undefined {
  return mask.pixels[y * mask.widthPx + x];
}

test("a stroke repaints what it runs over and nothing else", () => {
  const mask = emptyMask(40, 20);
  const changed = stroke(mask, { x: 10, y: 10 }, { x: 30, y: 10 }, HARD);
  for (const x of [10, 17, 23, 30]) expect(at(mask, x, 10)).toBe(255);
  expect(at(mask, 20, 4)).toBe(0);
  expect(at(mask, 3, 10)).toBe(0);
  expect(at(mask, 36, 10)).toBe(0);
  expect(changed).toEqual({ left: 5, top: 5, right: 35, bottom: 15 });
});

test("a fast stroke has no holes", () => {
  const mask = emptyMask(400, 20);
  stroke(mask, { x: 0, y: 10 }, { x: 399, y: 10 }, { ...HARD, radiusPx: 1.5 });
  for (let x = 0; x < 400; x++) expect(at(mask, x, 10)).toBeGreaterThan(127);
});

test("a soft brush fades to its edge, and overlapping strokes don't add up", () => {
  const mask = emptyMask(40, 40);
  const soft = { radiusPx: 16, hardness: 0, erases: false };
  stroke(mask, { x: 20, y: 20 }, { x: 20, y: 20 }, soft);
  const once = at(mask, 28, 20) ?? 0;
  expect(once).toBeGreaterThan(90);
  expect(once).toBeLessThan(160);
  stroke(mask, { x: 20, y: 20 }, { x: 20, y: 20 }, soft);
  expect(at(mask, 28, 20)).toBe(once);
});

test("an eraser keeps what it runs over", () => {
  const mask = emptyMask(20, 20);
  fill(mask, 255);
  stroke(mask, { x: 10, y: 10 }, { x: 10, y: 10 }, { ...HARD, erases: true });
  expect(at(mask, 10, 10)).toBe(0);
  expect(at(mask, 1, 1)).toBe(255);
});

test("a stroke beside the picture changes nothing, one over its edge only what is in it", () => {
  const mask = emptyMask(20, 20);
  expect(stroke(mask, { x: -50, y: 5 }, { x: -40, y: 5 }, HARD)).toBeUndefined();
  expect(coverage(mask)).toBe(0);
  expect(stroke(mask, { x: -1, y: 10 }, { x: -1, y: 10 }, HARD)).toMatchObject({ left: 0 });
  expect(coverage(mask)).toBeGreaterThan(0);
});

test("inverting twice changes nothing, and coverage follows", () => {
  const mask = emptyMask(10, 10);
  stroke(mask, { x: 5, y: 5 }, { x: 5, y: 5 }, HARD);
  const before = mask.pixels.slice();
  const share = coverage(mask);
  invert(mask);
  expect(coverage(mask)).toBeCloseTo(1 - share, 1);
  invert(mask);
  expect(mask.pixels).toEqual(before);
});

test("a part that was cut out can be put back", () => {
  const mask = emptyMask(10, 10);
  const part = cut(mask, { left: 2, top: 3, right: 7, bottom: 9 });
  fill(mask, 255);
  paste(mask, { left: 2, top: 3, right: 7, bottom: 9 }, part);
  expect(coverage(mask)).toBeCloseTo(0.7);
  expect([at(mask, 2, 3), at(mask, 6, 8), at(mask, 1, 3), at(mask, 7, 8)]).toEqual([0, 0, 255, 255]);
});

test("areas are joined", () => {
  const one = { left: 1, top: 5, right: 3, bottom: 6 };
  expect(union(one, undefined)).toBe(one);
  expect(union(one, whole(emptyMask(2, 9)))).toEqual({ left: 0, top: 0, right: 3, bottom: 9 });
});
