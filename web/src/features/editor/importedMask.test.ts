import { expect, test } from "vitest";
import { repaintedBy } from "./importedMask";

const [WHITE, BLACK, CLEAR] = [
  [255, 255, 255, 255],
  [0, 0, 0, 255],
  [0, 0, 0, 0],
];

function read(...pixels: (number[] | undefined)[]): number[] {
  return [...repaintedBy(Uint8ClampedArray.from(pixels.flatMap((pixel) => pixel ?? [])))];
}

test("white is repainted, black and transparency are kept", () => {
  expect(read(WHITE, BLACK, [128, 128, 128, 255])).toEqual([255, 0, 128]);
  expect(read(WHITE, CLEAR, BLACK)).toEqual([255, 0, 0]);
});

test("strokes of one colour are repainted", () => {
  expect(read([250, 20, 20, 255], [251, 21, 19, 200], CLEAR)).toEqual([255, 200, 0]);
});

test("holes in a picture are repainted", () => {
  expect(read([250, 20, 20, 255], [20, 200, 60, 255], CLEAR, [9, 9, 200, 100])).toEqual([0, 0, 255, 155]);
});
