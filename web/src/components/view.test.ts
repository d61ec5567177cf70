import { expect, test } from "vitest";
import { fitted, panned, pinched, toPicture, zoomed } from "./view";

const SCREEN = { widthPx: 1024, heightPx: 624 };

test("all of a picture is seen, in the middle", () => {
  const view = fitted({ widthPx: 2000, heightPx: 1000 }, SCREEN);
  expect(view.scale).toBe(0.5);
  expect(toPicture(view, { x: 512, y: 312 })).toEqual({ x: 1000, y: 500 });
  expect(fitted({ widthPx: 16, heightPx: 16 }, SCREEN).scale).toBe(4);
});

test("the point under the pointer stays where it is", () => {
  const pointer = { x: 300, y: 200 };
  const before = fitted({ widthPx: 500, heightPx: 500 }, SCREEN);
  const after = zoomed(before, 2, pointer);
  expect(after.scale).toBeCloseTo(before.scale * 2);
  expect(toPicture(after, pointer).x).toBeCloseTo(toPicture(before, pointer).x);
  expect(toPicture(after, pointer).y).toBeCloseTo(toPicture(before, pointer).y);
});

test("there is an end to making it larger, which moves nothing", () => {
  const largest = zoomed({ scale: 1, x: 0, y: 0 }, 1e9, { x: 0, y: 0 });
  expect(zoomed(largest, 2, { x: 50, y: 50 })).toEqual(largest);
});

test("two fingers hold what is between them", () => {
  const before = { scale: 1, x: 10, y: 10 };
  const after = pinched(
    before,
    [
      { x: 100, y: 100 },
      { x: 200, y: 100 },
    ],
    [
      { x: 100, y: 150 },
      { x: 300, y: 150 },
    ],
  );
  expect(after.scale).toBe(2);
  expect(toPicture(after, { x: 200, y: 150 })).toEqual(toPicture(before, { x: 150, y: 100 }));
});

test("moving moves", () => {
  expect(panned({ scale: 2, x: 1, y: 1 }, 5, -5)).toEqual({ scale: 2, x: 6, y: -4 });
});
