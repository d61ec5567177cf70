import { expect, test } from "vitest";
import { RATIOS, sizeFor } from "./sizes";

test("shapes have about the pixels of the model's own size", () => {
  const native = { widthPx: 1024, heightPx: 1024 };
  expect(sizeFor("1:1", native, 2048)).toEqual(native);
  expect(sizeFor("16:9", native, 2048)).toEqual({ widthPx: 1344, heightPx: 768 });
  expect(sizeFor("9:16", native, 2048)).toEqual({ widthPx: 768, heightPx: 1344 });
  expect(sizeFor("3:2", { widthPx: 256, heightPx: 256 }, 768)).toEqual({ widthPx: 312, heightPx: 208 });
});

test("no side is above the tier's limit, and all are sides that the platform takes", () => {
  for (const side of [256, 512, 768, 1024, 2048]) {
    for (const largest of [768, 1024, 1500, 4096]) {
      for (const ratio of RATIOS) {
        const { widthPx, heightPx } = sizeFor(ratio, { widthPx: side, heightPx: side }, largest);
        expect(Math.max(widthPx, heightPx)).toBeLessThanOrEqual(largest);
        expect(Math.min(widthPx, heightPx)).toBeGreaterThanOrEqual(64);
        expect([widthPx % 8, heightPx % 8]).toEqual([0, 0]);
      }
    }
  }
});

test("a model that isn't known gets the usual size", () => {
  expect(sizeFor("1:1", undefined, 768)).toEqual({ widthPx: 512, heightPx: 512 });
});
