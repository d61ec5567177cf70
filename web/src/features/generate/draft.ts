/** What the person is about to ask for. It outlives a change of page, but not the tab. */

import { create } from "@bufbuild/protobuf";
import { useSyncExternalStore } from "react";
import { sessionState, subscribeToSession } from "@/api/session";
import {
  type CreateJobRequest,
  CreateJobRequestSchema,
} from "@/gen/pingvas/generation/v1/generation_service_pb";
import {
  type ImageToImage,
  ImageToImageSchema,
  type Inpaint,
  type Job,
  type TextToImage,
  TextToImageSchema,
} from "@/gen/pingvas/generation/v1/job_pb";
import type { Recipe } from "@/gen/pingvas/generation/v1/recipe_pb";

export interface Draft {
  prompt: string;
  negativePrompt: string;
  /** Empty: the platform's default model. */
  modelId: string;
  /** 0: the model's own. */
  widthPx: number;
  heightPx: number;
  /** 0: the model's own. */
  stepCount: number;
  guidanceScale: number | undefined;
  scheduler: string;
  /** Empty: the server draws one. */
  seed: string;
  imageCount: number;
  loras: Lora[];
  source: Source | undefined;
  /** How far image to image may leave its source, 0 to 1. */
  strength: number;
  /** The template that the prompt was made from. Empty: none. */
  templateId: string;
  /** The style that the platform puts around the prompt. Empty: none. */
  styleId: string;
}

export interface Lora {
  modelId: string;
  weight: number;
}

export interface Source {
  imageId: string;
  /** Empty: not known yet. */
  url: string;
}

/** What can be taken over from a picture that was made before. */
export type Part = "all" | "prompt" | "seed" | "size" | "remix";

export const EMPTY: Draft = {
  prompt: "",
  negativePrompt: "",
  modelId: "",
  widthPx: 0,
  heightPx: 0,
  stepCount: 0,
  guidanceScale: undefined,
  scheduler: "",
  seed: "",
  imageCount: 1,
  loras: [],
  source: undefined,
  strength: 0.6,
  templateId: "",
  styleId: "",
};

let draft = EMPTY;
const listeners = new Set<() => void>();

// Nothing of one person stays for the next.
subscribeToSession(() => {
  if (sessionState() === "signedOut") changeDraft(EMPTY);
});

export function useDraft(): Draft {
  return useSyncExternalStore((listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }, currentDraft);
}

export function currentDraft(): Draft {
  return draft;
}

export function changeDraft(changes: Partial<Draft>): void {
  draft = { ...draft, ...changes };
  for (const listener of listeners) listener();
}

/** Stacks a LoRA on the model, once. */
export function addLora(modelId: string): void {
  if (draft.loras.some((lora) => lora.modelId === modelId)) return;
  changeDraft({ loras: [...draft.loras, { modelId, weight: 1 }] });
}

/** Takes parts of what made a picture over; `remix` is all but the seed. */
export function recall(made: Pick<Job | Recipe, "operation">, seed: bigint | undefined, part: Part): void {
  const { case: operation, value } = made.operation;
  if (operation === undefined || operation === "upscale") return;
  const size = { widthPx: value.widthPx, heightPx: value.heightPx };
  // What was recorded has its template and its style within.
  const { prompt, negativePrompt } = value;
  const prompts = { prompt, negativePrompt, templateId: "", styleId: "" };
  const seeds = { seed: seed === undefined ? "" : String(seed) };
  const parts: Record<Part, Partial<Draft>> = {
    prompt: prompts,
    seed: seeds,
    size,
    remix: { ...EMPTY, ...prompts, ...size, ...rest(value) },
    all: { ...EMPTY, ...prompts, ...size, ...rest(value), ...seeds },
  };
  changeDraft(parts[part]);
}

function rest(made: TextToImage | ImageToImage | Inpaint): Partial<Draft> {
  const { modelId, stepCount, guidanceScale, scheduler } = made;
  const loras = made.loras.map(({ modelId, weight }) => ({ modelId, weight: weight ?? 1 }));
  return { modelId, stepCount, guidanceScale, scheduler, loras, ...beginning(made) };
}

/** What it began with. A file doesn't say which picture that was: then the one that is in the draft stays. */
function beginning(made: TextToImage | ImageToImage | Inpaint): Partial<Draft> {
  if (made.$typeName === "pingvas.generation.v1.TextToImage") return {};
  const { source } = made.source ?? {};
  return {
    source: source?.case === "imageId" ? { imageId: source.value, url: "" } : draft.source,
    strength: made.strength ?? EMPTY.strength,
  };
}

/** What every operation that draws takes from a draft; the size is the operation's own. */
export function commonOf(draft: Draft) {
  return {
    prompt: draft.prompt,
    negativePrompt: draft.negativePrompt,
    modelId: draft.modelId,
    stepCount: draft.stepCount,
    scheduler: draft.scheduler,
    imageCount: draft.imageCount,
    loras: draft.loras,
    ...(draft.guidanceScale !== undefined && { guidanceScale: draft.guidanceScale }),
    ...presetOf(draft),
    ...(/^\d+$/.test(draft.seed) && { seed: BigInt(draft.seed) }),
  };
}

/** The request for a draft. The same `requestId` never makes a second job. */
export function requestFor(draft: Draft, requestId = ""): CreateJobRequest {
  const common = { ...commonOf(draft), widthPx: draft.widthPx, heightPx: draft.heightPx };
  if (!draft.source) {
    const value = create(TextToImageSchema, common);
    return create(CreateJobRequestSchema, { requestId, operation: { case: "textToImage", value } });
  }
  const value = create(ImageToImageSchema, {
    ...common,
    source: { source: { case: "imageId", value: draft.source.imageId } },
    strength: draft.strength,
  });
  return create(CreateJobRequestSchema, { requestId, operation: { case: "imageToImage", value } });
}

function presetOf({ templateId, styleId }: Draft) {
  return templateId || styleId ? { preset: { templateId, alreadyFilled: true, styleId } } : {};
}
