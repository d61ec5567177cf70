import { expect, test } from "vitest";
import { failureKeys, failureSearch } from "./failure";

test("only names of reasons and known providers are taken from an address", () => {
  expect(failureSearch({ failure: "EMAIL_TAKEN", provider: "google", cause: "state" })).toEqual({
    failure: "EMAIL_TAKEN",
    provider: "google",
    cause: "state",
  });
  expect(failureSearch({ failure: "Call 555-1234 now", provider: "toString", cause: 7 })).toEqual({});
});

test("a cause is told rather than the reason that it belongs to", () => {
  expect(failureKeys({ failure: "PROVIDER_SIGN_IN_FAILED", cause: "cancelled" })[0]).toBe("cancelled");
  expect(failureKeys({ failure: "EMAIL_TAKEN" })).toEqual(["EMAIL_TAKEN", "other"]);
});
