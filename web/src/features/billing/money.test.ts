import { timestampFromDate } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { creditsText, dayText, priceText } from "./money";

test("whole prices have no cents, others two digits", () => {
  expect(priceText(2500, "USD", "en-US")).toBe("$25");
  expect(priceText(2750, "USD", "en-US")).toBe("$27.50");
  expect(priceText(0, "USD", "en-US")).toBe("$0");
});

test("credits are shown with one digit at most", () => {
  expect(creditsText("15000.000", "en-US")).toBe("15,000");
  expect(creditsText("-0.250", "en-US")).toBe("-0.3");
});

test("a day that isn't there is empty", () => {
  expect(dayText(undefined, "en-US")).toBe("");
  expect(dayText(timestampFromDate(new Date(2026, 10, 29)), "en-US")).toBe("Nov 29, 2026");
});
