import { useMutation } from "@tanstack/react-query";
import { WandSparkles } from "lucide-react";
import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { useTranslation } from "react-i18next";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, Notice } from "@/components/ui";
import { changeDraft, currentDraft, useDraft } from "@/features/generate/draft";
import { ModelChoice } from "@/features/generate/ModelChoice";
import { useLimits, useModels } from "@/features/generate/models";
import { PromptArea } from "@/features/generate/prompt/PromptArea";
import { useJobs } from "@/features/queue/jobs";
import type { Image } from "@/gen/pingvas/gallery/v1/image_pb";
import { ModelKind, Operation } from "@/gen/pingvas/models/v1/model_pb";
import { Canvas, type Viewing } from "./Canvas";
import { maskIn } from "./canvases";
import { isGrown } from "./frame";
import { type Repainting, useInpainting, useRepaintingPrice } from "./inpainting";
import { useEditorKeys } from "./keys";
import { largestRadius, Options } from "./Options";
import { Outcome } from "./Outcome";
import { Painter } from "./painter";
import type { Settings } from "./surface";
import { ToolBar } from "./ToolBar";

/** As long as the limits of the tier aren't known. The server refuses what is above them. */
const SAFE_SIDE_PX = 768;
const BRUSH_SHARE = 0.06;

/** The canvas with everything around it. */
export function Workbench({ image, pixels }: { image: Image; pixels: ImageBitmap }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const draft = useDraft();
  const largestPx = useLimits()?.largestSidePx || SAFE_SIDE_PX;
  const [painter] = useState(() => new Painter(pixels.width, pixels.height));
  const painted = useSyncExternalStore(painter.subscribe, painter.snapshot);
  const [repainting, setRepainting] = useState<Repainting>({ strength: 0.9, featherPx: 8 });
  const [chosen, setChosen] = useState<Omit<Settings, "featherPx" | "largestPx">>({
    tool: "brush",
    radiusPx: Math.max(4, Math.round(Math.min(pixels.width, pixels.height) * BRUSH_SHARE)),
    hardness: 0.8,
    showsMask: true,
  });
  const { featherPx, strength } = repainting;
  const settings = useMemo(() => ({ ...chosen, featherPx, largestPx }), [chosen, featherPx, largestPx]);
  const change = (changes: Partial<Settings>) => setChosen((now) => ({ ...now, ...changes }));
  const viewing = useRef<Viewing>(null);
  const onFit = () => viewing.current?.fit();
  const onZoom = (factor: number) => viewing.current?.zoom(factor);
  const original = { imageId: image.imageId, pixels };
  const inpainting = useInpainting(original, painter, draft, repainting);
  const price = useRepaintingPrice(original, painted.frame, draft, strength);
  const importing = useMutation({
    mutationFn: async (file: File) => painter.replace(await maskIn(file, painter.mask)),
  });
  const [jobId, showJob] = useState("");
  const { data: jobs } = useJobs();
  const job = jobs?.find((each) => each.jobId === jobId);
  const refusal = inpainting.error ?? price.error;
  const isReady = !painter.isEmpty && draft.prompt.trim() !== "";

  // Whoever comes by a link begins with what the picture shows.
  useEffect(() => {
    if (!currentDraft().prompt) changeDraft({ prompt: image.prompt });
  }, [image]);
  useEditorKeys({
    painter,
    settings,
    largestRadiusPx: largestRadius(painter.mask),
    onChange: change,
    onFit,
    onZoom,
  });
  // Whoever lets it grow wants to see where to.
  const hasGrown = isGrown(painted.frame);
  // biome-ignore lint/correctness/useExhaustiveDependencies: only when it begins to grow
  useEffect(onFit, [hasGrown]);

  function submit() {
    if (!isReady || inpainting.isPending) return;
    inpainting.mutate(undefined, { onSuccess: ({ jobId: made }) => showJob(made) });
  }

  return (
    <div className="flex h-full flex-col overflow-y-auto lg:flex-row lg:overflow-hidden">
      <ToolBar
        settings={settings}
        painter={painter}
        painted={painted}
        onChange={change}
        onImport={importing.mutate}
        onFit={onFit}
        onZoom={onZoom}
      />
      <div className="relative min-h-72 flex-1 bg-canvas max-lg:h-[55dvh] max-lg:flex-none">
        <Canvas picture={pixels} painter={painter} settings={settings} ref={viewing} />
        {job && <Outcome job={job} pixels={pixels} frame={painted.frame} onClose={() => showJob("")} />}
      </div>
      <form
        className="flex shrink-0 flex-col gap-4 border-line bg-surface p-4 max-lg:border-t lg:w-80 lg:overflow-y-auto lg:border-l"
        onSubmit={(event) => {
          event.preventDefault();
          submit();
        }}
      >
        <p id="editor-keys" className="text-sm text-muted">
          {t("editor.keys")}
        </p>
        <p role="status" className="text-sm font-medium tabular-nums">
          {t("editor.coverage", { percent: Math.round(painted.coverage * 100) })}
        </p>
        <Field label={t("generate.prompt")} problem={violationOf(refusal, "prompt")}>
          {(ids) => (
            <PromptArea
              {...ids}
              name="prompt"
              rows={3}
              value={draft.prompt}
              onText={(prompt) => changeDraft({ prompt })}
              onSubmit={submit}
              hasHistory
            />
          )}
        </Field>
        <Options
          settings={settings}
          repainting={repainting}
          painter={painter}
          frame={painted.frame}
          onSettings={change}
          onRepainting={(changes) => setRepainting((now) => ({ ...now, ...changes }))}
        />
        <Models />
        {importing.error && <Notice>{t("recipes.noPicture")}</Notice>}
        {refusal && !violationOf(refusal, "prompt") && <Notice>{text(refusal)}</Notice>}
        <div className="sticky bottom-0 -mx-4 -mb-4 flex flex-col gap-1.5 border-t border-line bg-surface p-4">
          <Button
            type="submit"
            kind="primary"
            className="h-11 text-base"
            disabled={!isReady || inpainting.isPending}
          >
            <WandSparkles className="size-5" aria-hidden />
            {inpainting.isPending ? t("editor.sending") : t("editor.submit")}
          </Button>
          <Price credits={price.data?.credits} />
        </div>
      </form>
    </div>
  );
}

/** Only models that can repaint a part. */
function Models() {
  const draft = useDraft();
  const { data = [] } = useModels();
  const able = data.filter(
    ({ kind, operations }) => kind === ModelKind.LORA || operations.includes(Operation.INPAINT),
  );
  return <ModelChoice models={able} draft={draft} />;
}

function Price({ credits }: { credits: string | undefined }) {
  const { t, i18n } = useTranslation();
  return (
    <p className="min-h-5 text-center text-sm text-muted tabular-nums" aria-live="polite">
      {credits !== undefined &&
        t("generate.price", {
          credits: Number(credits).toLocaleString(i18n.language, { maximumFractionDigits: 2 }),
        })}
    </p>
  );
}
