/** Has the painted part of a picture drawn anew, and says before what that costs. */

import { create } from "@bufbuild/protobuf";
import { keepPreviousData, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef } from "react";
import { generation } from "@/api/clients";
import { upload } from "@/api/upload";
import { commonOf, type Draft } from "@/features/generate/draft";
import { priced, useSettled } from "@/features/generate/usePrice";
import { JOBS } from "@/features/queue/watch";
import {
  type CreateJobRequest,
  CreateJobRequestSchema,
  QuoteJobRequestSchema,
} from "@/gen/pingvas/generation/v1/generation_service_pb";
import { ImageToImageSchema, InpaintSchema } from "@/gen/pingvas/generation/v1/job_pb";
import { grownFile, maskFile } from "./canvases";
import { type Frame, grown, isGrown } from "./frame";
import type { Painted, Painter } from "./painter";

/** What the operation has beyond a draft. */
export interface Repainting {
  strength: number;
  featherPx: number;
}

/** A picture of the gallery with its pixels. */
export interface Original {
  imageId: string;
  pixels: ImageBitmap;
}

export function useInpainting(original: Original, painter: Painter, draft: Draft, repainting: Repainting) {
  const queries = useQueryClient();
  // Kept until it was accepted or refused: pressing again after a lost answer makes no second job.
  const pending = useRef<{ wish: [Draft, Repainting, Painted]; request: CreateJobRequest }>(undefined);
  return useMutation({
    mutationFn: async () => {
      const wish: [Draft, Repainting, Painted] = [draft, repainting, painter.snapshot()];
      if (!pending.current || wish.some((part, index) => part !== pending.current?.wish[index])) {
        pending.current = { wish, request: await requestFor(original, painter, draft, repainting) };
      }
      return generation.createJob(pending.current.request);
    },
    onSuccess: () => {
      pending.current = undefined;
      void queries.invalidateQueries({ queryKey: JOBS });
      void queries.invalidateQueries({ queryKey: ["balance"] });
    },
  });
}

async function requestFor(original: Original, painter: Painter, draft: Draft, repainting: Repainting) {
  const { frame } = painter.snapshot();
  const mask = await upload(await maskFile(painter.mask, frame));
  const source = isGrown(frame)
    ? { case: "uploadId" as const, value: await upload(await grownFile(original.pixels, frame)) }
    : { case: "imageId" as const, value: original.imageId };
  const value = create(InpaintSchema, {
    ...commonOf(draft),
    source: { source },
    mask: { source: { case: "uploadId", value: mask } },
    strength: repainting.strength,
    maskFeatherPx: repainting.featherPx,
  });
  const requestId = crypto.randomUUID();
  return create(CreateJobRequestSchema, { requestId, operation: { case: "inpaint", value } });
}

/** The price: that of image to image of the same size, which needs no mask to be asked for. */
export function useRepaintingPrice(
  { imageId, pixels }: Original,
  frame: Frame,
  draft: Draft,
  strength: number,
) {
  const size = grown({ widthPx: pixels.width, heightPx: pixels.height }, frame);
  const { modelId, stepCount, imageCount, loras, guidanceScale } = draft;
  const key = [
    imageId,
    isGrown(frame) && size,
    modelId,
    stepCount,
    imageCount,
    loras,
    guidanceScale,
    strength,
  ];
  const settled = useSettled(JSON.stringify(key));
  return useQuery({
    queryKey: ["price", settled],
    queryFn: ({ signal }) => {
      const value = create(ImageToImageSchema, {
        ...commonOf(priced(draft)),
        ...(isGrown(frame) && { widthPx: wholeSteps(size.widthPx), heightPx: wholeSteps(size.heightPx) }),
        source: { source: { case: "imageId", value: imageId } },
        strength,
      });
      const operation = { case: "imageToImage" as const, value };
      return generation.quoteJob(create(QuoteJobRequestSchema, { operation }), { signal });
    },
    placeholderData: keepPreviousData,
  });
}

function wholeSteps(sidePx: number): number {
  return Math.ceil(sidePx / 8) * 8;
}
