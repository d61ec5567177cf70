/** Which models of the catalogue are shown; a part of the page's address. */

import { type Model, ModelKind, Operation } from "@/gen/pingvas/models/v1/model_pb";

export interface ModelFilter {
  q?: string;
  kind?: "checkpoint" | "lora";
  family?: string;
  operation?: OperationName;
}

export const OPERATIONS = {
  textToImage: Operation.TEXT_TO_IMAGE,
  imageToImage: Operation.IMAGE_TO_IMAGE,
  inpaint: Operation.INPAINT,
  upscale: Operation.UPSCALE,
} as const;
export type OperationName = keyof typeof OPERATIONS;

/** Takes over what an address says as far as it makes sense. */
export function modelFilter(search: Record<string, unknown> | ModelFilter): ModelFilter {
  const { q, kind, family, operation } = search;
  return {
    ...((typeof q === "string" || typeof q === "number") && q !== "" && { q: String(q) }),
    ...((kind === "checkpoint" || kind === "lora") && { kind }),
    ...(typeof family === "string" && family !== "" && { family }),
    ...(typeof operation === "string" &&
      operation in OPERATIONS && { operation: operation as OperationName }),
  };
}

export function matching(
  models: readonly Model[],
  { q = "", kind, family, operation }: ModelFilter,
): Model[] {
  const wanted = q.trim().toLowerCase();
  return models.filter(
    (model) =>
      (!kind || isLora(model) === (kind === "lora")) &&
      (!family || model.family === family) &&
      (!operation || model.operations.includes(OPERATIONS[operation])) &&
      [model.displayName, model.modelId, model.family, ...model.triggerWords].some((text) =>
        text.toLowerCase().includes(wanted),
      ),
  );
}

export function isLora({ kind }: Model): boolean {
  return kind === ModelKind.LORA;
}

export function operationsOf({ operations }: Model): OperationName[] {
  return (Object.keys(OPERATIONS) as OperationName[]).filter((name) => operations.includes(OPERATIONS[name]));
}
