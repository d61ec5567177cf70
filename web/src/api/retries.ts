/** Which refused reads are made again by themselves, and when. */

import { problemOf } from "./problem";

const RETRIES = 3;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 30_000;

const PASSING = new Set(["UNREACHABLE", "RATE_LIMITED", "DEPENDENCY_UNAVAILABLE"]);

/** Whether the same call may be answered in a moment, after so many failures. */
export function isWorthRetrying(failures: number, error: unknown): boolean {
  return failures < RETRIES && PASSING.has(problemOf(error).reason);
}

/** How long to wait before the next call: as long as the refusal says, and longer after each failure. */
export function retryDelayMs(failures: number, error: unknown): number {
  const pause = Math.min(FIRST_PAUSE_MS * 2 ** failures, LONGEST_PAUSE_MS);
  const asked = problemOf(error).retryAfterSeconds;
  // What is refused together must not come again together.
  return asked === undefined ? pause : asked * 1000 * (1 + Math.random()) * (failures + 1);
}
