/** Refusals, in one shape whichever way they came. */

import { Code, ConnectError } from "@connectrpc/connect";
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from "@/gen/google/rpc/error_details_pb";
import { StatusError } from "./session";

export interface Violation {
  /** The path of the field in the request, such as `text_to_image.width_px`. */
  field: string;
  description: string;
}

export interface Problem {
  /** A value of ErrorReason without its prefix; `UNREACHABLE` when no answer came. */
  reason: string;
  message: string;
  violations: Violation[];
  metadata: Record<string, string>;
  retryAfterSeconds?: number;
}

export function problemOf(error: unknown): Problem {
  if (error instanceof StatusError) return problemOfStatus(error);
  const failure = ConnectError.from(error);
  const info = failure.findDetails(ErrorInfoSchema)[0];
  const delay = failure.findDetails(RetryInfoSchema)[0]?.retryDelay;
  return {
    reason: info?.reason ?? (isUnreachable(failure.code) ? "UNREACHABLE" : "INTERNAL"),
    message: failure.rawMessage,
    violations: failure.findDetails(BadRequestSchema).flatMap((request) => request.fieldViolations),
    metadata: info?.metadata ?? {},
    ...(delay && { retryAfterSeconds: Number(delay.seconds) + delay.nanos / 1e9 }),
  };
}

function problemOfStatus({ status }: StatusError): Problem {
  const details = status.details ?? [];
  const info = details.find((detail) => String(detail["@type"]).endsWith("ErrorInfo"));
  const request = details.find((detail) => String(detail["@type"]).endsWith("BadRequest"));
  return {
    reason: String(info?.reason ?? "INTERNAL"),
    message: status.message ?? "",
    violations: (request?.field_violations ?? request?.fieldViolations ?? []) as Violation[],
    metadata: (info?.metadata ?? {}) as Record<string, string>,
  };
}

function isUnreachable(code: Code): boolean {
  return code === Code.Unknown || code === Code.Unavailable;
}
