import { expect, test } from "vitest";
import { withoutPixels } from "./withoutPixels";

const text = (letters: string) => [...letters].map((letter) => letter.charCodeAt(0));
const big = (number: number) => [number >>> 24, (number >> 16) & 255, (number >> 8) & 255, number & 255];
const little = (number: number) => big(number).reverse();
const bytes = (...parts: number[][]) => Uint8Array.from(parts.flat());

const PNG = [0x89, ...text("PNG\r\n\x1a\n")];
const chunk = (kind: string, content: number[]) => [
  ...big(content.length),
  ...text(kind),
  ...content,
  1,
  2,
  3,
  4,
];

test("a PNG keeps all chunks but those with pixels", () => {
  const header = chunk("IHDR", [1, 2, 3]);
  const note = chunk("tEXt", text("recipe\0{}"));
  const end = chunk("IEND", []);
  const whole = bytes(PNG, header, note, chunk("IDAT", [9, 9, 9]), chunk("IDAT", [9]), note, end);
  expect(withoutPixels(whole)).toEqual(bytes(PNG, header, note, note, end));
});

test("a PNG that ends within a chunk is cut where it ends", () => {
  const whole = bytes(PNG, chunk("tEXt", text("recipe\0{}")).slice(0, 12));
  expect(withoutPixels(whole)).toEqual(whole);
  expect(withoutPixels(bytes(PNG, big(0xffffffff), text("IDAT"), [1]))).toEqual(bytes(PNG));
});

test("a JPEG keeps its EXIF segments up to the first scan", () => {
  const exif = [0xff, 0xe1, 0, 6, 1, 2, 3, 4];
  const whole = bytes(
    [0xff, 0xd8],
    [0xff, 0xe0, 0, 4, 7, 7],
    [0xff],
    exif,
    [0xff, 0xda, 0, 2],
    [5, 5, 0xff, 0xe1, 0, 3, 1],
  );
  expect(withoutPixels(whole)).toEqual(bytes([0xff, 0xd8], exif, [0xff, 0xd9]));
});

test("a WebP keeps its canvas and its EXIF chunk, and tells its new size", () => {
  const canvas = [...text("VP8X"), ...little(3), 1, 2, 3, 0];
  const exif = [...text("EXIF"), ...little(2), 8, 9];
  const whole = bytes(
    text("RIFF"),
    little(999),
    text("WEBP"),
    canvas,
    [...text("VP8 "), ...little(4), 5, 5, 5, 5],
    exif,
  );
  expect(withoutPixels(whole)).toEqual(bytes(text("RIFF"), little(4 + 12 + 10), text("WEBP"), canvas, exif));
});

test("anything else is no picture", () => {
  for (const file of [bytes(), bytes(text("GIF89a")), bytes(text("RIFFxxxxWAVE")), bytes(PNG.slice(0, 7))]) {
    expect(withoutPixels(file)).toBeUndefined();
  }
});
