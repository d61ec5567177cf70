/** What can go wrong, as errors that carry what the platform says about it. */

import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { ErrorReason } from "./gen/pingvas/common/v1/error_reason_pb.js";
import { type Job, JobState } from "./gen/pingvas/generation/v1/job_pb.js";

const DOMAIN = "pingvas.studio";
/** What the platform asks to be repeated by itself. A full queue is for people to decide: it may take many minutes. */
const REPEATABLE = new Set(["RATE_LIMITED", "OVERLOADED", "TOO_MANY_STREAMS"]);

/** A field that breaks a rule of the contract. */
export interface Violation {
  field: string;
  description: string;
}

/** A call that was refused, or got no answer. */
export class PingvasError extends Error {
  override name = "PingvasError";
  readonly code: Code;
  /**
   * A name of ErrorReason without its prefix, for example "INSUFFICIENT_CREDITS"; its comment in the contract says what to
   * do. Empty when the platform didn't answer.
   */
  readonly reason: string;
  readonly metadata: Record<string, string>;
  readonly violations: Violation[];
  /** When to try again, in seconds. */
  readonly retryAfter: number | undefined;

  constructor(error: ConnectError) {
    super(error.rawMessage, { cause: error });
    const info = error.findDetails(ErrorInfoSchema).find(({ domain }) => domain === DOMAIN);
    const retry = error.findDetails(RetryInfoSchema)[0]?.retryDelay;
    this.code = error.code;
    this.reason = info?.reason ?? "";
    this.metadata = { ...info?.metadata };
    this.violations = error
      .findDetails(BadRequestSchema)
      .flatMap(({ fieldViolations }) => fieldViolations)
      .map(({ field, description }) => ({ field, description }));
    this.retryAfter = retry && Number(retry.seconds) + retry.nanos / 1e9;
  }

  /** Whether the same call may succeed in a moment, and is safe to repeat. */
  get isRepeatable(): boolean {
    return this.code === Code.Unavailable || REPEATABLE.has(this.reason);
  }
}

/** A job that ended without pictures: it failed, and nothing was charged, or it was cancelled. */
export class JobEndedError extends Error {
  override name = "JobEndedError";
  readonly job: Job;

  constructor(job: Job) {
    const isFailed = job.state === JobState.FAILED;
    const reason = job.failure ? ErrorReason[job.failure.reason] : "";
    super(
      isFailed
        ? `the job ${job.jobId} failed (${reason}): ${job.failure?.message}`
        : `the job ${job.jobId} was cancelled`,
    );
    this.job = job;
  }
}

/** Returns what a failed call means; whatever isn't one stays as it is. */
export function meaning(error: unknown): unknown {
  return error instanceof ConnectError ? new PingvasError(error) : error;
}
