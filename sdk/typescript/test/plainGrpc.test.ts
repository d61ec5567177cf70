/** The contracts without this package: gRPC's own client for JavaScript, which reads proto/ as it runs. */

import { resolve } from "node:path";
import { credentials, loadPackageDefinition, Metadata } from "@grpc/grpc-js";
import { load } from "@grpc/proto-loader";
import { expect, it } from "vitest";

const repository = resolve(import.meta.dirname, "../../..");
const target = new URL(process.env.PINGVAS_ADDRESS ?? "").host;
const metadata = new Metadata();
metadata.set("authorization", `Bearer ${process.env.PINGVAS_KEY}`);

interface Event {
  detail: string;
  completed?: { images: { seed: string }[] };
}

it("makes a picture by contracts that are read at run time", async () => {
  const definition = await load("pingvas/generation/v1/generation_service.proto", {
    includeDirs: ["proto", "third_party/googleapis", "third_party/protovalidate"].map((folder) =>
      resolve(repository, folder),
    ),
    keepCase: true,
    longs: String,
    oneofs: true,
  });
  // biome-ignore lint/suspicious/noExplicitAny: a package that is read at run time has no types
  const { pingvas } = loadPackageDefinition(definition) as any;
  const client = new pingvas.generation.v1.GenerationService(target, credentials.createInsecure());

  const request = {
    text_to_image: { prompt: "a lighthouse", width_px: 64, height_px: 64, step_count: 4, seed: "5" },
  };
  const job = await new Promise<{ job_id: string }>((resolved, rejected) => {
    client.CreateJob(request, metadata, (error: Error | null, made: { job_id: string }) =>
      error ? rejected(error) : resolved(made),
    );
  });
  const events: Event[] = [];
  for await (const event of client.WatchJob({ job_id: job.job_id }, metadata)) events.push(event);
  client.close();

  expect(events.at(-1)?.detail).toBe("completed");
  expect(events.at(-1)?.completed?.images.map(({ seed }) => seed)).toEqual(["5"]);
});
