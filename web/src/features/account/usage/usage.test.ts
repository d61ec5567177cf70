import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ModelUsageSchema } from "@/gen/pingvas/generation/v1/usage_service_pb";
import { byDay, byModel, successRate } from "./usage";

function used(day: string, modelId: string, credits: string, jobCount: number, imageCount: number) {
  return create(ModelUsageSchema, { day, modelId, credits, jobCount, imageCount });
}

const MODELS = [
  used("2026-02-27", "tiny", "1.500", 3, 2),
  used("2026-02-27", "sdxl", "20.000", 1, 4),
  used("2026-03-01", "tiny", "0.250", 1, 1),
];

test("each day of the span has what all models used on it, or nothing", () => {
  expect(byDay("2026-02-26", "2026-03-01", MODELS, "credits")).toEqual([
    { day: "2026-02-26", amount: 0 },
    { day: "2026-02-27", amount: 21.5 },
    { day: "2026-02-28", amount: 0 },
    { day: "2026-03-01", amount: 0.25 },
  ]);
  expect(byDay("2026-02-27", "2026-02-27", MODELS, "pictures")).toEqual([{ day: "2026-02-27", amount: 6 }]);
});

test("models are summed over the days, the most expensive first", () => {
  expect(byModel(MODELS)).toEqual([
    { modelId: "sdxl", credits: 20, jobs: 1, pictures: 4 },
    { modelId: "tiny", credits: 1.75, jobs: 4, pictures: 3 },
  ]);
});

test("cancelled jobs don't count against the share that succeeded", () => {
  expect(successRate({ completedCount: 3, failedCount: 1 })).toBe(0.75);
  expect(successRate({ completedCount: 0, failedCount: 0 })).toBeUndefined();
});
