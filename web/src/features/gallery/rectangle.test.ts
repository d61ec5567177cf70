import { expect, test } from "vitest";
import { tilesIn } from "./rectangle";

// Tiles begin at 16, 126 and 236.
const LAYOUT = {
  rows: [
    { first: 0, count: 3, topPx: 16 },
    { first: 3, count: 3, topPx: 126 },
    { first: 6, count: 2, topPx: 236 },
  ],
  sidePx: 100,
  gapPx: 10,
  paddingPx: 16,
};

const over = (fromX: number, fromY: number, toX: number, toY: number) =>
  tilesIn({ fromX, fromY, toX, toY }, LAYOUT);

test("every tile that is touched counts, in whichever direction it is drawn", () => {
  expect(over(50, 50, 130, 130)).toEqual([0, 1, 3, 4]);
  expect(over(130, 130, 50, 50)).toEqual([0, 1, 3, 4]);
  expect(over(0, 0, 20, 20)).toEqual([0]);
});

test("the gaps hold none", () => {
  expect(over(118, 118, 124, 124)).toEqual([]);
  expect(over(0, 0, 10, 1000)).toEqual([]);
});

test("beyond the last one there is none", () => {
  expect(over(0, 0, 2000, 2000)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  expect(over(240, 240, 300, 300)).toEqual([]);
});

test("below a heading the tiles stand lower", () => {
  const rows = [{ first: 0, count: 3, topPx: 56 }];
  expect(tilesIn({ fromX: 0, fromY: 0, toX: 2000, toY: 50 }, { ...LAYOUT, rows })).toEqual([]);
  expect(tilesIn({ fromX: 0, fromY: 0, toX: 130, toY: 60 }, { ...LAYOUT, rows })).toEqual([0, 1]);
});
