/**
 * Draws one job after the other until a budget is used up, a job fails, or somebody stops it. It goes on while other pages of
 * the studio are open, and ends with the tab.
 */

import { useSyncExternalStore } from "react";
import { sessionState, subscribeToSession } from "@/api/session";
import type { Draft } from "./draft";

export interface Run {
  budget: number;
  /** Credits that the jobs before have used. */
  spent: number;
  jobCount: number;
  isOn: boolean;
  /** Why it ended by itself: there was no room for another job, or what went wrong. */
  end?: "budget" | "cancelled" | { error: unknown };
}

/** What the run asks of the platform. */
export interface Platform {
  /** The most that a job with this draft may cost, in credits. */
  quote: (draft: Draft) => Promise<number>;
  /** Has it drawn, and says at its end what it has cost; undefined: it was cancelled. Throws why it can't be drawn. */
  draw: (draft: Draft, signal: AbortSignal) => Promise<number | undefined>;
}

const NONE: Run = { budget: 10, spent: 0, jobCount: 0, isOn: false };

let run = NONE;
let ending = new AbortController();
const listeners = new Set<() => void>();

// Nothing goes on in somebody's name who has left.
subscribeToSession(() => {
  if (sessionState() !== "signedOut") return;
  stop();
  tell(NONE);
});

export function useRun(): Run {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, presentRun);
}

export function presentRun(): Run {
  return run;
}

/** Starts over with a budget in credits. `draft` is asked before each job, so that changes count from the next one on. */
export async function keepDrawing(budget: number, draft: () => Draft, platform: Platform): Promise<void> {
  stop();
  ending = new AbortController();
  const { signal } = ending;
  tell({ budget, spent: 0, jobCount: 0, isOn: true });
  const end = (reason: NonNullable<Run["end"]>) => {
    if (!signal.aborted) tell({ ...run, isOn: false, end: reason });
  };
  try {
    while (!signal.aborted) {
      // The same seed would draw the same picture again.
      const next = { ...draft(), seed: "" };
      const most = await platform.quote(next);
      if (signal.aborted) return;
      if (run.spent + most > budget) return end("budget");
      const cost = await platform.draw(next, signal);
      if (signal.aborted) return;
      if (cost === undefined) return end("cancelled");
      tell({ ...run, spent: run.spent + cost, jobCount: run.jobCount + 1 });
    }
  } catch (error) {
    end({ error });
  }
}

/** Ends it after the job that is being drawn. */
export function stop(): void {
  ending.abort();
  if (run.isOn) tell({ ...run, isOn: false });
}

function tell(next: Run): void {
  run = next;
  for (const listener of listeners) listener();
}
