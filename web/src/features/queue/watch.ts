/** Follows all of one's jobs by one stream, which mends itself, and feeds what happens into the query cache. */

import type { QueryClient } from "@tanstack/react-query";
import { useSyncExternalStore } from "react";
import { generation } from "@/api/clients";
import { problemOf } from "@/api/problem";
import type { JobEvent } from "@/gen/pingvas/generation/v1/job_event_pb";
import { type Job, JobState } from "@/gen/pingvas/generation/v1/job_pb";
import { announce } from "./announce";
import { forgetProgress, keepProgress } from "./previews";

export const JOBS = ["jobs"] as const;

export type Connection = "connecting" | "live" | "lost";

const LONGEST_WAIT_MS = 15_000;
/** The server sends a heartbeat every 15 s; a stream that is silent for three of them is dead. */
const SILENCE_MS = 45_000;

let connection: Connection = "connecting";
const listeners = new Set<() => void>();

export function useConnection(): Connection {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => connection,
  );
}

export function isTerminal(state: JobState): boolean {
  return state === JobState.COMPLETED || state === JobState.FAILED || state === JobState.CANCELLED;
}

/** Watches until the signal is aborted. */
export async function watchJobs(queries: QueryClient, signal: AbortSignal): Promise<void> {
  let after = "";
  let attempt = 0;
  while (!signal.aborted) {
    try {
      const opened = () => {
        become("live");
        attempt = 0;
        // Whatever happened between the last event and this stream.
        void queries.invalidateQueries({ queryKey: JOBS });
      };
      for await (const event of silenceBounded(after, signal, opened)) {
        if (event.eventId) {
          after = event.eventId;
          apply(queries, event);
        }
      }
    } catch (error) {
      if (signal.aborted) return;
      if (problemOf(error).reason === "EVENT_ID_INVALID") after = "";
    }
    become("lost");
    const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** attempt++) * (0.5 + Math.random() / 2);
    await waited(wait, signal);
  }
}

/** Merges one event into the list of jobs; what the list doesn't know is fetched. */
export function apply(queries: QueryClient, event: JobEvent): void {
  const { detail, jobId } = event;
  if (detail.case === "progress") {
    keepProgress(jobId, detail.value);
  }
  if (isTerminal(event.state)) {
    forgetProgress(jobId);
    void queries.invalidateQueries({ queryKey: ["balance"] });
    if (detail.case === "completed") void queries.invalidateQueries({ queryKey: ["images"] });
  }
  const jobs = queries.getQueryData<Job[]>(JOBS);
  const known = jobs?.find((job) => job.jobId === jobId);
  if (!jobs || !known) {
    void queries.invalidateQueries({ queryKey: JOBS });
    return;
  }
  if (isTerminal(event.state) && !isTerminal(known.state)) announce(known, event.state);
  if (known.state === event.state && detail.case === "progress") return;
  queries.setQueryData<Job[]>(
    JOBS,
    jobs.map((job) => (job === known ? changed(job, event) : job)),
  );
}

function changed(job: Job, { state, detail, createTime }: JobEvent): Job {
  const next: Job = { ...job, state };
  if (isTerminal(state) && createTime) next.endTime = createTime;
  if (detail.case === "queued") {
    next.queuePosition = detail.value.position;
    next.estimatedWaitSeconds = detail.value.estimatedWaitSeconds;
    next.estimatedWaitP90Seconds = detail.value.estimatedWaitP90Seconds;
  } else if (detail.case === "completed") {
    next.images = detail.value.images;
    next.creditsUsed = detail.value.creditsUsed;
  } else if (detail.case === "failed") {
    next.failure = {
      $typeName: "pingvas.generation.v1.JobFailure",
      reason: detail.value.reason,
      message: detail.value.message,
    };
  } else if (detail.case === "cancelled") {
    next.creditsUsed = detail.value.creditsUsed;
  }
  return next;
}

async function* silenceBounded(
  after: string,
  signal: AbortSignal,
  opened: () => void,
): AsyncGenerator<JobEvent> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), SILENCE_MS);
  // A browser that has lost its network leaves the stream open, as if nothing happened any more.
  const lose = () => silence.abort();
  window.addEventListener("offline", lose);
  try {
    for await (const event of generation.watchJobs(
      { after },
      { signal: AbortSignal.any([signal, silence.signal]), timeoutMs: 0, onHeader: opened },
    )) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
      yield event;
    }
  } finally {
    clearTimeout(timer);
    window.removeEventListener("offline", lose);
  }
}

function waited(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      window.removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    window.addEventListener("online", done);
    signal.addEventListener("abort", done);
  });
}

function become(next: Connection): void {
  connection = next;
  for (const listener of listeners) listener();
}
