/** The client before a running deployment, through its edge: PINGVAS_ADDRESS and PINGVAS_KEY say which, and for whom. */

import { Code, ConnectError, createRouterTransport, type Interceptor } from "@connectrpc/connect";
import { describe, expect, it } from "vitest";
import { GenerationService } from "../src/gen/pingvas/generation/v1/generation_service_pb.js";
import { JobState } from "../src/gen/pingvas/generation/v1/job_pb.js";
import { ApiKeyService } from "../src/gen/pingvas/user/v1/api_key_service_pb.js";
import { Client, JobEndedError, PingvasError, type Progress } from "../src/index.js";

const address = process.env.PINGVAS_ADDRESS ?? "";
const apiKey = process.env.PINGVAS_KEY ?? "";
const client = new Client(address, { apiKey });
const SMALL = { width: 64, height: 64, steps: 4 };

/** Returns the size that a PNG's header tells. */
function sizeOf(png: Uint8Array<ArrayBuffer>): [number, number] {
  const header = new DataView(png.buffer, 16, 8);
  return [header.getUint32(0), header.getUint32(4)];
}

async function refusal(work: Promise<unknown>): Promise<PingvasError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(PingvasError);
  return error as PingvasError;
}

describe("a picture", () => {
  it("comes with bytes, progress and price", async () => {
    const before = Number((await client.balance()).available);
    const seen: Progress[] = [];

    const pictures = await client.generate("a lighthouse", {
      ...SMALL,
      count: 2,
      seed: 7,
      onProgress: (progress) => seen.push(progress),
    });

    expect(pictures.map(({ seed, data }) => [seed, sizeOf(data)])).toEqual([
      [7, [64, 64]],
      [8, [64, 64]],
    ]);
    expect(seen[0]?.stage).toBe("waiting");
    expect(seen.at(-1)).toMatchObject({ stage: "done", percent: 100 });
    const job = await client.job(pictures[0]?.jobId ?? "");
    expect(Number((await client.balance()).available)).toBeCloseTo(before - Number(job.creditsUsed), 3);
    expect(await client.download(pictures[0]?.imageId ?? "")).toEqual(pictures[0]?.data);
  });

  it("is worked on from bytes, from a picture and from an id", async () => {
    const [first] = await client.generate("a field", { ...SMALL, seed: 1 });
    const [second] = await client.generate("a gate", { source: first?.blob, steps: 4, strength: 0.5 });
    const [third] = await client.generate("a gate", { source: second?.imageId, steps: 4 });
    const large = await client.upscale(third ?? "", 2);

    const operations = await Promise.all(
      [second, third, large].map(async (picture) => (await client.job(picture?.jobId ?? "")).operation.case),
    );
    expect(operations).toEqual(["imageToImage", "imageToImage", "upscale"]);
    expect(sizeOf(large.data)).toEqual([128, 128]);
  });

  it("isn't made from what is none", async () => {
    const words = new TextEncoder().encode("these are words");
    await expect(client.generate("a field", { source: words })).rejects.toThrow("no PNG, JPEG or WebP");
    await expect(client.generate("a field", { mask: words })).rejects.toThrow("a mask needs a source");
  });
});

describe("lists", () => {
  it("are read to their end", async () => {
    const models: string[] = [];
    for await (const model of client.models()) models.push(model.modelId);
    expect(models).toContain("pingvas-tiny");
    const images: string[] = [];
    for await (const image of client.images({ query: "lighthouse" })) images.push(image.prompt);
    expect(images).toContain("a lighthouse");
    expect(images.filter((prompt) => !prompt.includes("lighthouse"))).toEqual([]);
  });
});

describe("what goes wrong", () => {
  it("is told with reason and field", async () => {
    const wrong = await refusal(client.generate("a boat", { width: 65 }));
    expect(wrong.violations.map(({ field }) => field)).toEqual(["text_to_image.width_px"]);
    expect((await refusal(client.generate("a boat", { model: "none" }))).reason).toBe("MODEL_NOT_FOUND");
    const stranger = new Client(address, { apiKey: `${apiKey}x` });
    expect((await refusal(stranger.balance())).code).toBe(Code.Unauthenticated);
    expect((await refusal(client.service(ApiKeyService).listApiKeys({}))).code).toBe(Code.PermissionDenied);
  });

  it("ends a failed job with its reason", async () => {
    const error = await client.generate("[[raise]] a storm", SMALL).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(JobEndedError);
    expect((error as JobEndedError).job.state).toBe(JobState.FAILED);
  });

  it("cancels a job whose wait is aborted", async () => {
    const abort = new AbortController();
    let jobId = "";
    const making = client.generate("[[slow=0.2]] a long way", {
      ...SMALL,
      steps: 100,
      signal: abort.signal,
      onProgress: (progress) => {
        jobId = progress.jobId;
        abort.abort();
      },
    });
    await expect(making).rejects.toThrow();
    await expect(client.wait(jobId)).rejects.toThrow("was cancelled");
  });
});

describe("a call that got no answer", () => {
  it("is repeated with the same id", async () => {
    const ids: string[] = [];
    const unsteady = (interceptors: Interceptor[]) =>
      createRouterTransport(
        ({ service }) => {
          service(GenerationService, {
            createJob(request) {
              ids.push(request.requestId);
              if (ids.length < 3) throw new ConnectError("the connection broke", Code.Unavailable);
              return { jobId: "made" };
            },
          });
        },
        { transport: { interceptors } },
      );
    const job = await new Client(address, { transport: unsteady }).submit({
      case: "textToImage",
      value: { prompt: "one" },
    });
    expect(job.jobId).toBe("made");
    expect(new Set(ids).size).toBe(1);
    expect(ids[0]).not.toBe("");
  });
});
