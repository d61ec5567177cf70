import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { JobSchema } from "@/gen/pingvas/generation/v1/job_pb";
import { RecipeSchema } from "@/gen/pingvas/generation/v1/recipe_pb";
import { changeDraft, currentDraft, EMPTY, recall, requestFor } from "./draft";

const job = create(JobSchema, {
  operation: {
    case: "textToImage",
    value: {
      prompt: "a red circle",
      negativePrompt: "blur",
      modelId: "tiny",
      widthPx: 128,
      heightPx: 64,
      stepCount: 9,
      guidanceScale: 0,
    },
  },
});

test("a draft without a seed leaves it to the server, and a seed of 53 bits is sent whole", () => {
  expect(requestFor({ ...EMPTY, prompt: "x" }).operation.value).not.toHaveProperty("seed");
  expect(requestFor({ ...EMPTY, seed: "9007199254740991" }).operation.value).toMatchObject({
    seed: 9007199254740991n,
  });
});

test("a guidance of zero is sent, an absent one is not", () => {
  expect(requestFor({ ...EMPTY, guidanceScale: 0 }).operation.value).toMatchObject({ guidanceScale: 0 });
  expect(requestFor(EMPTY).operation.value).not.toHaveProperty("guidanceScale");
});

test("a starting picture makes it image to image", () => {
  const { operation } = requestFor({ ...EMPTY, source: { imageId: "id", url: "" }, strength: 0.3 });
  expect(operation.case).toBe("imageToImage");
  expect(operation.value).toMatchObject({
    strength: 0.3,
    source: { source: { case: "imageId", value: "id" } },
  });
});

test("recall takes over the parts that it is asked for and nothing else", () => {
  changeDraft({ ...EMPTY, prompt: "before", seed: "5", widthPx: 512, stepCount: 3 });
  const now = () => requestFor(currentDraft()).operation.value;
  recall(job, 7n, "prompt");
  expect(now()).toMatchObject({
    prompt: "a red circle",
    negativePrompt: "blur",
    seed: 5n,
    widthPx: 512,
    stepCount: 3,
  });
  recall(job, 7n, "seed");
  expect(now()).toMatchObject({ seed: 7n, widthPx: 512 });
  recall(job, 7n, "remix");
  expect(now()).toMatchObject({
    modelId: "tiny",
    widthPx: 128,
    heightPx: 64,
    stepCount: 9,
    guidanceScale: 0,
  });
  expect(now()).not.toHaveProperty("seed");
  recall(job, 7n, "all");
  expect(now()).toMatchObject({ stepCount: 9, seed: 7n });
});

test("recall of all takes the LoRAs and the starting picture along", () => {
  changeDraft({ ...EMPTY, source: { imageId: "before", url: "x" } });
  const loras = [{ modelId: "ink", weight: 0.5 }, { modelId: "chalk" }];
  const made = (source?: { source: { case: "imageId"; value: string } }) =>
    create(RecipeSchema, {
      operation: {
        case: "imageToImage",
        value: { prompt: "x", loras, strength: 0.3, ...(source && { source }) },
      },
    });
  recall(made(), undefined, "all");
  expect(currentDraft()).toMatchObject({
    loras: [
      { modelId: "ink", weight: 0.5 },
      { modelId: "chalk", weight: 1 },
    ],
    source: { imageId: "before" },
    strength: 0.3,
    seed: "",
  });
  recall(made({ source: { case: "imageId", value: "id" } }), 9007199254740991n, "all");
  expect(currentDraft()).toMatchObject({ source: { imageId: "id", url: "" }, seed: "9007199254740991" });
  expect(requestFor(currentDraft()).operation.value).toMatchObject({
    loras: [
      { modelId: "ink", weight: 0.5 },
      { modelId: "chalk", weight: 1 },
    ],
  });
});
