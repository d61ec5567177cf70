/** What the person is about to ask for. It outlives a change of page, but not the tab. */

import { create } from "@bufbuild/protobuf";
import { useSyncExternalStore } from "react";
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
  source: Source | undefined;
  /** How far image to image may leave its source, 0 to 1. */
  strength: number;
}

export interface Source {
  imageId: string;
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
  source: undefined,
  strength: 0.6,
};

let draft = EMPTY;
const listeners = new Set<() => void>();

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

/** Takes parts of a job over; `remix` is all but the seed. */
export function recall(job: Job, seed: bigint, part: Part): void {
  const { case: operation, value } = job.operation;
  if (operation === undefined || operation === "upscale") return;
  const size = { widthPx: value.widthPx, heightPx: value.heightPx };
  const prompts = { prompt: value.prompt, negativePrompt: value.negativePrompt };
  const seeds = { seed: String(seed) };
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
  return { modelId, stepCount, guidanceScale, scheduler };
}

/** The request for a draft. The same `requestId` never makes a second job. */
export function requestFor(draft: Draft, requestId = ""): CreateJobRequest {
  const common = {
    prompt: draft.prompt,
    negativePrompt: draft.negativePrompt,
    modelId: draft.modelId,
    widthPx: draft.widthPx,
    heightPx: draft.heightPx,
    stepCount: draft.stepCount,
    scheduler: draft.scheduler,
    imageCount: draft.imageCount,
    ...(draft.guidanceScale !== undefined && { guidanceScale: draft.guidanceScale }),
    ...(/^\d+$/.test(draft.seed) && { seed: BigInt(draft.seed) }),
  };
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
