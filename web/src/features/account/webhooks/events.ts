import type { TFunction } from "i18next";
import { WebhookEvent } from "@/gen/pingvas/generation/v1/webhook_pb";

/** The events that a person can choose, with the keys of their names. */
export const EVENTS = [
  { event: WebhookEvent.JOB_STARTED, key: "started", isUsual: false },
  { event: WebhookEvent.JOB_PROGRESS, key: "progress", isUsual: false },
  { event: WebhookEvent.JOB_COMPLETED, key: "completed", isUsual: true },
  { event: WebhookEvent.JOB_FAILED, key: "failed", isUsual: true },
  { event: WebhookEvent.JOB_CANCELLED, key: "cancelled", isUsual: true },
  { event: WebhookEvent.CREDITS_LOW, key: "creditsLow", isUsual: false },
] as const;

/** Returns the names of events in the person's language; a test has one of its own. */
export function eventNames(events: readonly WebhookEvent[], t: TFunction): string {
  const names = EVENTS.filter(({ event }) => events.includes(event)).map(({ key }) =>
    t(`webhookEvent.${key}`),
  );
  return [...names, ...(events.includes(WebhookEvent.TEST) ? [t("webhookEvent.test")] : [])].join(", ");
}
