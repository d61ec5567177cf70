import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { ModelKind, ModelSchema, Operation } from "@/gen/pingvas/models/v1/model_pb";
import { matching, modelFilter, operationsOf } from "./filter";

const MODELS = [
  {
    modelId: "tiny",
    displayName: "Pingvas Tiny",
    family: "tiny",
    kind: ModelKind.CHECKPOINT,
    operations: [Operation.TEXT_TO_IMAGE, Operation.INPAINT],
  },
  {
    modelId: "big",
    displayName: "Big",
    family: "sdxl",
    kind: ModelKind.CHECKPOINT,
    operations: [Operation.UPSCALE],
  },
  { modelId: "ink", displayName: "Ink", family: "sdxl", kind: ModelKind.LORA, triggerWords: ["Sumi-e"] },
].map((model) => create(ModelSchema, model));

const names = (filter: Parameters<typeof matching>[1]) =>
  matching(MODELS, filter).map(({ modelId }) => modelId);

test("each part of the filter leaves what has it", () => {
  expect(names({})).toEqual(["tiny", "big", "ink"]);
  expect(names({ kind: "lora" })).toEqual(["ink"]);
  expect(names({ family: "sdxl", kind: "checkpoint" })).toEqual(["big"]);
  expect(names({ operation: "inpaint" })).toEqual(["tiny"]);
  expect(names({ q: " PING" })).toEqual(["tiny"]);
  expect(names({ q: "sumi" })).toEqual(["ink"]);
});

test("an address that makes no sense filters nothing", () => {
  expect(modelFilter({ q: 7, kind: "cake", operation: "fly", family: "" })).toEqual({ q: "7" });
  expect(modelFilter({ kind: "lora", operation: "upscale" })).toEqual({ kind: "lora", operation: "upscale" });
});

test("operations are told in one order", () => {
  expect(operationsOf(MODELS[0] ?? create(ModelSchema))).toEqual(["textToImage", "inpaint"]);
});
