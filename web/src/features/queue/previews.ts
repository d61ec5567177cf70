/**
 * The newest preview and progress of each running job, outside of React's state: previews come several times a second, and
 * only the card that shows one renders again.
 */

import { useSyncExternalStore } from "react";
import type { JobProgress } from "@/gen/pingvas/generation/v1/job_event_pb";

export interface Live {
  progress: JobProgress;
  /** Addresses of the newest preview of each picture, by its index in the job. */
  previews: readonly string[];
}

const live = new Map<string, Live>();
const listeners = new Set<() => void>();

export function useLive(jobId: string): Live | undefined {
  return useSyncExternalStore(subscribe, () => live.get(jobId));
}

export function keepProgress(jobId: string, progress: JobProgress): void {
  const previews = [...(live.get(jobId)?.previews ?? [])];
  if (progress.previewJpeg.length > 0) {
    const before = previews[progress.imageIndex];
    const jpeg = new Blob([progress.previewJpeg.slice()], { type: "image/jpeg" });
    previews[progress.imageIndex] = URL.createObjectURL(jpeg);
    // The picture on the screen is decoded already; its address isn't needed any more.
    if (before) URL.revokeObjectURL(before);
  }
  live.set(jobId, { progress, previews });
  notify();
}

export function forgetProgress(jobId: string): void {
  const ended = live.get(jobId);
  if (!ended) return;
  live.delete(jobId);
  notify();
  // After the finished pictures have had time to take the previews' place.
  setTimeout(() => {
    for (const url of ended.previews) URL.revokeObjectURL(url);
  }, 10_000);
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function notify(): void {
  for (const listener of listeners) listener();
}
