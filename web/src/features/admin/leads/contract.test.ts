import { timestampDate } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { contractOf } from "./contract";

function form(values: Record<string, string>): FormData {
  const data = new FormData();
  for (const [name, value] of Object.entries(values)) data.set(name, value);
  return data;
}

test("money, room and the last day of a contract are told in the platform's units", () => {
  const contract = contractOf(
    "an account",
    form({
      reference: " 2026-014 ",
      end_time: "2027-03-31",
      credits: "500000",
      amount_cents: "1234.56",
      currency: "EUR",
      storage_bytes: "2",
      running_jobs: "40",
      requests_per_second: "",
    }),
  );
  expect(contract).toMatchObject({
    accountId: "an account",
    reference: "2026-014",
    credits: "500000",
    amountCents: 123_456,
    currency: "EUR",
    storageBytes: 2n ** 31n,
    runningJobs: 40,
    requestsPerSecond: 0,
  });
  expect(timestampDate(contract.endTime)).toEqual(new Date(2027, 2, 31, 23, 59, 59));
});
