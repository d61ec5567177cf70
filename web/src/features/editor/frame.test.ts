import { expect, test } from "vitest";
import { draggedTo, grown, isGrown, NO_FRAME, nearestSide, withSide } from "./frame";

const PICTURE = { widthPx: 256, heightPx: 250 };

test("a side grows to a whole multiple of eight", () => {
  expect(withSide(NO_FRAME, "right", 61, PICTURE, 1024).right).toBe(64);
  const high = withSide(NO_FRAME, "top", 64, PICTURE, 1024);
  expect(grown(PICTURE, high)).toEqual({ widthPx: 256, heightPx: 312 });
});

test("no side grows beyond what the plan allows", () => {
  const wide = withSide(withSide(NO_FRAME, "left", 400, PICTURE, 768), "right", 400, PICTURE, 768);
  expect(grown(PICTURE, wide).widthPx).toBe(768);
  expect(withSide(NO_FRAME, "left", 64, { widthPx: 1024, heightPx: 64 }, 768).left).toBe(0);
});

test("a side that is pushed inwards has not grown", () => {
  expect(withSide({ ...NO_FRAME, left: 64 }, "left", -20, PICTURE, 1024)).toEqual(NO_FRAME);
  expect(withSide(NO_FRAME, "left", Number.NaN, PICTURE, 1024)).toEqual(NO_FRAME);
  expect([isGrown(NO_FRAME), isGrown({ ...NO_FRAME, top: 8 })]).toEqual([false, true]);
});

test("the edge that is dragged is the nearest one", () => {
  expect(nearestSide({ x: 250, y: 120 }, PICTURE, NO_FRAME)).toBe("right");
  expect(nearestSide({ x: -60, y: 120 }, PICTURE, { ...NO_FRAME, left: 64 })).toBe("left");
  expect(draggedTo("right", { x: 300, y: 0 }, PICTURE)).toBe(44);
  expect(draggedTo("top", { x: 300, y: -30 }, PICTURE)).toBe(30);
});
