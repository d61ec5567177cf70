import { beforeEach, expect, test, vi } from "vitest";
import { forgetPrompts, rememberPrompt, sentPrompts, Walk } from "./history";

beforeEach(() => {
  const kept = new Map<string, string>();
  vi.stubGlobal("localStorage", {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  });
});

test("the last fifty that differ are kept, the newest first", () => {
  for (let index = 0; index < 60; index++) rememberPrompt(`prompt ${index}`);
  rememberPrompt(" prompt 58 ");
  rememberPrompt("  ");
  expect(sentPrompts()).toHaveLength(50);
  expect(sentPrompts().slice(0, 3)).toEqual(["prompt 58", "prompt 59", "prompt 57"]);
  forgetPrompts();
  expect(sentPrompts()).toEqual([]);
});

test("what somebody else has written into the browser's storage is no history", () => {
  localStorage.setItem("pingvas.prompts", '{"a":1}');
  expect(sentPrompts()).toEqual([]);
  localStorage.setItem("pingvas.prompts", "[1,");
  expect(sentPrompts()).toEqual([]);
  localStorage.setItem("pingvas.prompts", '[1,"a"]');
  expect(sentPrompts()).toEqual(["a"]);
});

test("a walk goes back step by step and returns to what was being written", () => {
  const walk = new Walk(() => ["c", "b", "a"]);
  expect([walk.step("draft", 1), walk.step("c", 1), walk.step("b", 1), walk.step("a", 1)]).toEqual([
    "c",
    "b",
    "a",
    undefined,
  ]);
  expect([walk.step("a", -1), walk.step("b", -1), walk.step("c", -1), walk.step("draft", -1)]).toEqual([
    "b",
    "c",
    "draft",
    undefined,
  ]);
});

test("a prompt that was changed begins a new walk, and the one that is shown is no step", () => {
  const walk = new Walk(() => ["c", "b"]);
  expect(walk.step("", 1)).toBe("c");
  expect(walk.step("c, changed", 1)).toBe("c");
  expect(walk.step("c", -1)).toBe("c, changed");
  expect(new Walk(() => ["c", "b"]).step("c", 1)).toBe("b");
});
