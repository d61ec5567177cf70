import { expect, test } from "vitest";
import { hasWords, withoutWords, withWords } from "./triggerWords";

test("words are found whole, whatever their case", () => {
  expect(hasWords("a boat, Ink Wash", "ink wash")).toBe(true);
  expect(hasWords("(ink wash:1.2) boat", "ink wash")).toBe(true);
  expect(hasWords("an inkwell", "ink")).toBe(false);
  expect(hasWords("수묵화 바다", "수묵")).toBe(false);
});

test("they are added once, behind what is there", () => {
  expect(withWords("a boat", "ink wash")).toBe("a boat, ink wash");
  expect(withWords("a boat, ", "ink wash")).toBe("a boat, ink wash");
  expect(withWords("", "ink wash")).toBe("ink wash");
  expect(withWords("Ink wash boat", "ink wash")).toBe("Ink wash boat");
});

test("they leave where they stand by themselves", () => {
  expect(withoutWords("a boat, ink wash", "ink wash")).toBe("a boat");
  expect(withoutWords("Ink Wash, a boat, at dawn", "ink wash")).toBe("a boat, at dawn");
  expect(withoutWords("an ink wash boat, at dawn", "ink wash")).toBe("an ink wash boat, at dawn");
});
