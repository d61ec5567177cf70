import { create } from "@bufbuild/protobuf";
import { DurationSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { ErrorInfoSchema, RetryInfoSchema } from "@/gen/google/rpc/error_details_pb";
import { isWorthRetrying, retryDelayMs } from "./retries";

function refusal(reason: string, retryAfterMs?: number): ConnectError {
  const retryDelay = create(DurationSchema, { nanos: (retryAfterMs ?? 0) * 1e6 });
  return new ConnectError("refused", Code.ResourceExhausted, undefined, [
    { desc: ErrorInfoSchema, value: { reason, domain: "pingvas.studio" } },
    ...(retryAfterMs === undefined ? [] : [{ desc: RetryInfoSchema, value: { retryDelay } }]),
  ]);
}

describe("a refused read", () => {
  it("comes again when it was one too many, and not for ever", () => {
    const limited = refusal("RATE_LIMITED", 200);
    expect([0, 1, 2, 3].map((failures) => isWorthRetrying(failures, limited))).toEqual([
      true,
      true,
      true,
      false,
    ]);
  });

  it("does not come again when the answer would be the same", () => {
    expect(isWorthRetrying(0, refusal("IMAGE_NOT_FOUND"))).toBe(false);
  });

  it("waits for as long as the refusal says at least", () => {
    const limited = refusal("RATE_LIMITED", 200);
    for (const failures of [0, 1, 2]) {
      expect(retryDelayMs(failures, limited)).toBeGreaterThanOrEqual(200 * (failures + 1));
      expect(retryDelayMs(failures, limited)).toBeLessThanOrEqual(400 * (failures + 1));
    }
  });

  it("waits longer each time when nothing answers", () => {
    const unreachable = new ConnectError("gone", Code.Unavailable);
    expect([0, 1, 9].map((failures) => retryDelayMs(failures, unreachable))).toEqual([1000, 2000, 30_000]);
  });
});
