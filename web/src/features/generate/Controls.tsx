import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { Brush, Dices, History, WandSparkles, X } from "lucide-react";
import { useRef } from "react";
import { useTranslation } from "react-i18next";
import { gallery, generation } from "@/api/clients";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, IconButton, Input, Notice, Select } from "@/components/ui";
import { useLastSeed } from "@/features/queue/jobs";
import { JOBS } from "@/features/queue/watch";
import type { Model } from "@/gen/pingvas/models/v1/model_pb";
import { changeDraft, type Draft, requestFor, useDraft } from "./draft";
import { Forever } from "./Forever";
import { Loras } from "./Loras";
import { ModelChoice } from "./ModelChoice";
import { modelOf } from "./models";
import { rememberPrompt } from "./prompt/history";
import { PromptArea } from "./prompt/PromptArea";
import { Count, Size } from "./SizeFields";
import { usePrice } from "./usePrice";

/** Everything that a picture is made from, and the button that makes it. */
export function Controls({ models }: { models: Model[] }) {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const draft = useDraft();
  const price = usePrice(draft);
  const model = modelOf(models, draft.modelId);
  const submission = useSubmission(draft);
  const refusal = submission.error ?? price.error;
  const shown = ["prompt", "width_px", "height_px", "step_count", "seed", "image_count", "guidance_scale"];
  const isShownAtField = shown.some((field) => violationOf(refusal, field));

  return (
    <form
      className="flex flex-col gap-4 p-4"
      onSubmit={(event) => {
        event.preventDefault();
        submission.submit();
      }}
    >
      <Field
        label={t("generate.prompt")}
        hint={`${draft.prompt.length} / 2000`}
        problem={violationOf(refusal, "prompt")}
      >
        {(ids) => (
          <PromptArea
            {...ids}
            name="prompt"
            rows={5}
            value={draft.prompt}
            placeholder={t("generate.promptPlaceholder")}
            onText={(prompt) => changeDraft({ prompt })}
            onSubmit={submission.submit}
            hasHistory
          />
        )}
      </Field>
      <Field label={t("generate.negative")} problem={violationOf(refusal, "negative_prompt")}>
        {(ids) => (
          <PromptArea
            {...ids}
            rows={2}
            value={draft.negativePrompt}
            placeholder={t("generate.negativePlaceholder")}
            onText={(negativePrompt) => changeDraft({ negativePrompt })}
            onSubmit={submission.submit}
          />
        )}
      </Field>
      {draft.source && <SourcePicture draft={draft} />}
      <ModelChoice models={models} draft={draft} />
      <Loras models={models} draft={draft} />
      <Size model={model} draft={draft} refusal={refusal} />
      <Count draft={draft} problem={violationOf(refusal, "image_count")} />
      <Advanced model={model} draft={draft} refusal={refusal} />
      {refusal && !isShownAtField && <Notice>{text(refusal)}</Notice>}
      <div className="sticky bottom-0 -mx-4 -mb-4 flex flex-col gap-1.5 border-t border-line bg-surface p-4">
        <Button type="submit" kind="primary" className="h-11 text-base" disabled={!draft.prompt.trim()}>
          <WandSparkles className="size-5" aria-hidden />
          {t("generate.submit")}
          <kbd className="ml-1 hidden text-xs opacity-70 md:inline">{t("generate.shortcut")}</kbd>
        </Button>
        <p className="min-h-5 text-center text-sm text-muted tabular-nums" aria-live="polite">
          {price.data &&
            t("generate.price", {
              credits: Number(price.data.credits).toLocaleString(i18n.language, { maximumFractionDigits: 2 }),
            })}
        </p>
        <Forever isReady={draft.prompt.trim() !== ""} />
      </div>
    </form>
  );
}

function useSubmission(draft: Draft) {
  const queries = useQueryClient();
  // Kept until the draft has been accepted or refused: pressing again after a lost answer makes no second job.
  const pending = useRef<{ draft: Draft; requestId: string }>(undefined);
  const { mutate, error } = useMutation({
    mutationFn: (job: { draft: Draft; requestId: string }) =>
      generation.createJob(requestFor(job.draft, job.requestId)),
    onSuccess: () => {
      pending.current = undefined;
      void queries.invalidateQueries({ queryKey: JOBS });
      void queries.invalidateQueries({ queryKey: ["balance"] });
    },
  });
  function submit() {
    if (!draft.prompt.trim()) return;
    if (pending.current?.draft !== draft) pending.current = { draft, requestId: crypto.randomUUID() };
    rememberPrompt(draft.prompt);
    mutate(pending.current);
  }
  return { submit, error };
}

function SourcePicture({ draft }: { draft: Draft }) {
  const { t } = useTranslation();
  const imageId = draft.source?.imageId ?? "";
  const { data: known } = useQuery({
    queryKey: ["image", imageId],
    queryFn: () => gallery.getImage({ imageId }),
    enabled: draft.source?.url === "",
  });
  return (
    <div className="flex flex-col gap-3 rounded-lg border border-line p-3">
      <div className="flex items-center gap-3">
        <img
          src={draft.source?.url || known?.thumbnailUrl}
          alt=""
          className="size-16 rounded-md object-cover"
        />
        <span className="flex-1 text-sm text-muted">{t("generate.source")}</span>
        <Link
          to="/edit/$imageId"
          params={{ imageId }}
          aria-label={t("editor.open")}
          title={t("editor.open")}
          className="inline-flex size-9 items-center justify-center rounded-lg text-muted transition hover:bg-raised hover:text-ink"
        >
          <Brush className="size-4" aria-hidden />
        </Link>
        <IconButton label={t("generate.removeSource")} onClick={() => changeDraft({ source: undefined })}>
          <X className="size-4" aria-hidden />
        </IconButton>
      </div>
      <Field label={t("generate.strength")} hint={draft.strength.toFixed(2)}>
        {(ids) => (
          <input
            {...ids}
            type="range"
            min={0.05}
            max={1}
            step={0.05}
            value={draft.strength}
            onChange={(event) => changeDraft({ strength: Number(event.target.value) })}
          />
        )}
      </Field>
    </div>
  );
}

function Advanced({ model, draft, refusal }: { model: Model | undefined; draft: Draft; refusal: unknown }) {
  const { t } = useTranslation();
  const lastSeed = useLastSeed();
  return (
    <details className="group rounded-lg border border-line">
      <summary className="cursor-pointer px-3 py-2 text-sm font-medium text-muted">
        {t("generate.advanced")}
      </summary>
      <div className="grid grid-cols-2 gap-3 p-3 pt-1">
        <Field label={t("generate.steps")} problem={violationOf(refusal, "step_count")}>
          {(ids) => (
            <Input
              {...ids}
              type="number"
              min={1}
              max={150}
              value={draft.stepCount || ""}
              placeholder={model ? String(model.defaultStepCount) : ""}
              onChange={(event) => changeDraft({ stepCount: Math.round(event.target.valueAsNumber) || 0 })}
            />
          )}
        </Field>
        <Field label={t("generate.guidance")} problem={violationOf(refusal, "guidance_scale")}>
          {(ids) => (
            <Input
              {...ids}
              type="number"
              min={0}
              max={30}
              step={0.5}
              value={draft.guidanceScale ?? ""}
              placeholder={model ? String(model.defaultGuidanceScale) : ""}
              onChange={(event) =>
                changeDraft({
                  guidanceScale: event.target.value === "" ? undefined : event.target.valueAsNumber,
                })
              }
            />
          )}
        </Field>
        <Field label={t("generate.scheduler")} problem={violationOf(refusal, "scheduler")}>
          {(ids) => (
            <Select
              {...ids}
              value={draft.scheduler}
              onChange={(event) => changeDraft({ scheduler: event.target.value })}
            >
              <option value="">{t("generate.schedulerDefault")}</option>
              {model?.schedulers.map((scheduler) => (
                <option key={scheduler}>{scheduler}</option>
              ))}
            </Select>
          )}
        </Field>
        <div className="col-span-2">
          <Field label={t("generate.seed")} problem={violationOf(refusal, "seed")}>
            {(ids) => (
              <div className="flex gap-1">
                <Input
                  {...ids}
                  inputMode="numeric"
                  pattern="\d*"
                  value={draft.seed}
                  placeholder={t("generate.seedRandom")}
                  onChange={(event) =>
                    changeDraft({ seed: event.target.value.replace(/\D/g, "").slice(0, 16) })
                  }
                />
                <IconButton
                  label={t("generate.randomSeed")}
                  disabled={!draft.seed}
                  onClick={() => changeDraft({ seed: "" })}
                >
                  <Dices className="size-4" aria-hidden />
                </IconButton>
                <IconButton
                  label={t("generate.lastSeed")}
                  disabled={lastSeed === undefined}
                  onClick={() => changeDraft({ seed: String(lastSeed) })}
                >
                  <History className="size-4" aria-hidden />
                </IconButton>
              </div>
            )}
          </Field>
        </div>
      </div>
    </details>
  );
}
