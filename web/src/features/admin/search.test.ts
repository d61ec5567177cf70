import { expect, test } from "vitest";
import { adminSearch } from "./search";

test("an address keeps what it says as text, and nothing else", () => {
  expect(adminSearch({ find: 42, tier: "PRO", role: "", other: "x", kind: ["a"] })).toEqual({
    find: "42",
    tier: "PRO",
  });
});
