import { create } from "@bufbuild/protobuf";
import { timestampDate } from "@bufbuild/protobuf/wkt";
import { expect, test } from "vitest";
import { TransactionKind, TransactionSchema } from "@/gen/pingvas/payment/v1/credit_service_pb";
import { EVERYTHING, filterOf, latestMonths, partsOf } from "./statement";

test("a day lasts from midnight to midnight where the person is", () => {
  const { startTime, endTime } = filterOf({ ...EVERYTHING, day: "2026-11-29" });
  expect(startTime && timestampDate(startTime)).toEqual(new Date(2026, 10, 29));
  expect(endTime && timestampDate(endTime)).toEqual(new Date(2026, 10, 30));
});

test("nothing chosen filters nothing", () => {
  expect(filterOf(EVERYTHING)).toEqual({ kinds: [], jobId: "", startTime: undefined, endTime: undefined });
});

test("a job's line has what was held, charged and released", () => {
  const settled = create(TransactionSchema, {
    kind: TransactionKind.SETTLE,
    amount: "1.800",
    held: "-3.000",
    spent: "1.200",
    lapsed: "0.000",
    revoked: "0.000",
  });
  expect(partsOf(settled)).toEqual([
    ["held", "3.000"],
    ["charged", "1.200"],
    ["released", "1.800"],
  ]);
});

test("a gift has no parts", () => {
  const gift = create(TransactionSchema, { kind: TransactionKind.GRANT, amount: "5.000", held: "0.000" });
  expect(partsOf(gift)).toEqual([]);
});

test("the latest months go back over the turn of the year, whatever the day", () => {
  expect(latestMonths(new Date("2026-01-31T23:00:00Z"), 3)).toEqual(["2026-01", "2025-12", "2025-11"]);
});
