import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { Tier } from "@/gen/pingvas/common/v1/tier_pb";
import { ModelKind, ModelSchema } from "@/gen/pingvas/models/v1/model_pb";
import { PlanSchema } from "@/gen/pingvas/payment/v1/subscription_pb";
import { familiesElsewhere, modelOf } from "./models";

const one = create(ModelSchema, { modelId: "one", kind: ModelKind.CHECKPOINT });
const two = create(ModelSchema, { modelId: "two", kind: ModelKind.CHECKPOINT });
const ink = create(ModelSchema, { modelId: "ink", kind: ModelKind.LORA });

test("the default model is known only where there is no other; a LoRA is no model", () => {
  expect(modelOf([one, ink], "")).toBe(one);
  expect(modelOf([one, two], "")).toBeUndefined();
  expect(modelOf([one, two], "two")).toBe(two);
  expect(modelOf([one, ink], "ink")).toBeUndefined();
});

test("what the tier lacks is told with the smallest plan that has it", () => {
  const plan = (planId: string, tier: Tier, modelFamilies: string[]) =>
    create(PlanSchema, { planId, tier, limits: { modelFamilies } });
  const free = plan("free", Tier.FREE, ["tiny"]);
  const studio = plan("studio", Tier.STUDIO, ["tiny", "large", "huge"]);
  const pro = plan("pro", Tier.PRO, ["tiny", "large"]);
  expect(familiesElsewhere(free, [free, studio, pro])).toEqual([
    { family: "large", planId: "pro" },
    { family: "huge", planId: "studio" },
  ]);
  expect(familiesElsewhere(studio, [free, studio, pro])).toEqual([]);
});
