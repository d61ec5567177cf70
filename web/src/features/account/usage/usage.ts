/** What was used, as the chart and the table need it. */

import type { ModelUsage, Usage } from "@/gen/pingvas/generation/v1/usage_service_pb";

export const MEASURES = ["credits", "jobs", "pictures"] as const;
export type Measure = (typeof MEASURES)[number];

const MS_A_DAY = 86_400_000;

type Used = Pick<ModelUsage, "credits" | "jobCount" | "imageCount">;

/** Credits are a decimal text; a chart may round them. */
export function amountOf(used: Used, measure: Measure): number {
  if (measure === "credits") return Number(used.credits);
  return measure === "jobs" ? used.jobCount : used.imageCount;
}

/** The share of jobs that made their pictures, of those that weren't cancelled: 0 to 1, or undefined without any. */
export function successRate({ completedCount, failedCount }: Pick<Usage, "completedCount" | "failedCount">) {
  const judged = completedCount + failedCount;
  return judged > 0 ? completedCount / judged : undefined;
}

/** All days from the first to the last, with what all models used on each: days without a job have 0. */
export function byDay(firstDay: string, lastDay: string, models: readonly ModelUsage[], measure: Measure) {
  const amounts = new Map<string, number>();
  for (const each of models) amounts.set(each.day, (amounts.get(each.day) ?? 0) + amountOf(each, measure));
  const days: { day: string; amount: number }[] = [];
  for (let at = Date.parse(firstDay); at <= Date.parse(lastDay); at += MS_A_DAY) {
    const day = new Date(at).toISOString().slice(0, 10);
    days.push({ day, amount: amounts.get(day) ?? 0 });
  }
  return days;
}

/** What each model used in all days together, the most expensive first. */
export function byModel(models: readonly ModelUsage[]) {
  const sums = new Map<string, { credits: number; jobs: number; pictures: number }>();
  for (const each of models) {
    const sum = sums.get(each.modelId) ?? { credits: 0, jobs: 0, pictures: 0 };
    for (const measure of MEASURES) sum[measure] += amountOf(each, measure);
    sums.set(each.modelId, sum);
  }
  return [...sums].map(([modelId, sum]) => ({ modelId, ...sum })).sort((a, b) => b.credits - a.credits);
}
