import { expect, test } from "vitest";
import { NO_FRAME } from "./frame";
import type { Brush } from "./mask";
import { Painter } from "./painter";

const BRUSH: Brush = { radiusPx: 3, hardness: 1, erases: false };

function paintedAt(painter: Painter, x: number, y: number): number | undefined {
  return painter.mask.pixels[y * painter.mask.widthPx + x];
}

test("a stroke is one step, however many points it has", () => {
  const painter = new Painter(32, 32);
  painter.begin({ x: 5, y: 5 }, BRUSH);
  painter.move({ x: 20, y: 5 }, BRUSH);
  painter.move({ x: 20, y: 25 }, BRUSH);
  painter.end();
  const after = painter.mask.pixels.slice();
  expect(painter.snapshot()).toMatchObject({ canUndo: true, canRedo: false });
  painter.undo();
  expect(painter.snapshot()).toMatchObject({ canUndo: false, canRedo: true, coverage: 0 });
  expect(painter.isEmpty).toBe(true);
  painter.redo();
  expect(painter.mask.pixels).toEqual(after);
});

test("steps of every kind are taken back in their order", () => {
  const painter = new Painter(16, 16);
  painter.fill();
  painter.begin({ x: 8, y: 8 }, { ...BRUSH, erases: true });
  painter.end();
  painter.invert();
  painter.grow({ ...NO_FRAME, left: 8 });
  expect(paintedAt(painter, 8, 8)).toBe(255);
  expect(paintedAt(painter, 0, 0)).toBe(0);
  painter.undo();
  expect(painter.snapshot().frame).toEqual(NO_FRAME);
  painter.undo();
  expect(paintedAt(painter, 8, 8)).toBe(0);
  painter.undo();
  expect(painter.snapshot().coverage).toBe(1);
  painter.undo();
  expect(painter.isEmpty).toBe(true);
  for (let step = 0; step < 4; step++) painter.redo();
  expect(painter.snapshot().frame.left).toBe(8);
  expect(paintedAt(painter, 8, 8)).toBe(255);
});

test("a stroke that turns out to be a gesture leaves nothing", () => {
  const painter = new Painter(16, 16);
  painter.begin({ x: 8, y: 8 }, BRUSH);
  painter.cancel();
  painter.end();
  expect(painter.mask.pixels.every((value) => value === 0)).toBe(true);
  expect(painter.snapshot().canUndo).toBe(false);
});

test("an edge that is dragged is one step, back to where it began", () => {
  const painter = new Painter(16, 16);
  painter.grow({ ...NO_FRAME, right: 8 }, false);
  painter.grow({ ...NO_FRAME, right: 16 }, true, NO_FRAME);
  painter.undo();
  expect(painter.snapshot()).toMatchObject({ frame: NO_FRAME, canUndo: false });
});

test("only what has changed is to be drawn anew", () => {
  const painter = new Painter(64, 64);
  painter.begin({ x: 10, y: 10 }, BRUSH);
  painter.end();
  expect(painter.takeDirty()).toEqual({ left: 6, top: 6, right: 14, bottom: 14 });
  expect(painter.takeDirty()).toBeUndefined();
  painter.invert();
  expect(painter.takeDirty()).toEqual({ left: 0, top: 0, right: 64, bottom: 64 });
});
