import { expect, test } from "vitest";
import { extended, NOTHING, toggled } from "./selection";

const LISTED = ["a", "b", "c", "d", "e"];

test("a click selects, another one deselects", () => {
  const once = toggled(NOTHING, "b");
  expect([...once.ids]).toEqual(["b"]);
  expect([...toggled(once, "b").ids]).toEqual([]);
});

test("shift selects from the last click on, in either direction, and keeps the rest", () => {
  const selection = toggled(toggled(NOTHING, "e"), "c");
  expect([...extended(selection, "a", LISTED).ids].sort()).toEqual(["a", "b", "c", "e"]);
  expect([...extended(selection, "d", LISTED).ids].sort()).toEqual(["c", "d", "e"]);
});

test("a second shift starts from the same place", () => {
  const selection = extended(toggled(NOTHING, "b"), "c", LISTED);
  expect([...extended(selection, "a", LISTED).ids].sort()).toEqual(["a", "b", "c"]);
});

test("shift without a click before selects the one", () => {
  expect([...extended(NOTHING, "d", LISTED).ids]).toEqual(["d"]);
});

test("shift from a picture that has left the list selects the one", () => {
  expect([...extended({ ids: new Set(), anchor: "gone" }, "d", LISTED).ids]).toEqual(["d"]);
});
