import { create } from "@bufbuild/protobuf";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { generation } from "@/api/clients";
import { QuoteJobRequestSchema } from "@/gen/pingvas/generation/v1/generation_service_pb";
import { type Draft, requestFor } from "./draft";

const QUIET_MS = 300;

/** The price of a draft, asked for when the person has paused. The words and the seed cost nothing, so they ask nothing. */
export function usePrice(draft: Draft) {
  const { modelId, widthPx, heightPx, stepCount, imageCount, loras, source, strength, guidanceScale } = draft;
  const key = [
    modelId,
    widthPx,
    heightPx,
    stepCount,
    imageCount,
    loras,
    source?.imageId,
    strength,
    guidanceScale,
  ];
  const settled = useSettled(JSON.stringify(key));
  return useQuery({
    queryKey: ["price", settled],
    queryFn: ({ signal }) => {
      const { operation } = requestFor(priced(draft));
      return generation.quoteJob(create(QuoteJobRequestSchema, { operation }), { signal });
    },
    placeholderData: keepPreviousData,
  });
}

/** A draft as far as it costs something. */
export function priced(draft: Draft): Draft {
  const prompt = draft.prompt.trim() || "a picture";
  return { ...draft, prompt, seed: "", templateId: "", styleId: "" };
}

/** A value as it was when it last stood still for a moment. */
export function useSettled<T>(value: T): T {
  const [settled, settle] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => settle(value), QUIET_MS);
    return () => clearTimeout(timer);
  }, [value]);
  return settled;
}
