import { expect, test } from "vitest";
import { elapsed } from "./elapsed";

const NOW = new Date("2026-11-29T12:00:00Z");

test.each([
  ["2026-11-29T12:00:05Z", "0 sec"],
  ["2026-11-29T11:59:01Z", "59 sec"],
  ["2026-11-29T11:57:30Z", "2 min"],
  ["2026-11-29T09:00:00Z", "3 hr"],
  ["2026-11-27T11:00:00Z", "2 days"],
])("since %s it is %s", (since, text) => {
  expect(elapsed(new Date(since), NOW, "en")).toBe(text);
});
