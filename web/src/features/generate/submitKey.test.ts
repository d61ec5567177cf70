import { expect, test } from "vitest";
import { submits } from "./submitKey";

const enter = { key: "Enter", ctrlKey: true, metaKey: false, isComposing: false, keyCode: 13 };

test("Ctrl+Enter and Cmd+Enter submit", () => {
  expect(submits(enter)).toBe(true);
  expect(submits({ ...enter, ctrlKey: false, metaKey: true })).toBe(true);
});

test("a plain Enter and other keys don't submit", () => {
  expect(submits({ ...enter, ctrlKey: false })).toBe(false);
  expect(submits({ ...enter, key: "a" })).toBe(false);
});

test("an Enter that ends a composition doesn't submit, in either way that browsers tell of it", () => {
  expect(submits({ ...enter, isComposing: true })).toBe(false);
  expect(submits({ ...enter, keyCode: 229 })).toBe(false);
});
