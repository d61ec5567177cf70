import { useMutation, useQueryClient } from "@tanstack/react-query";
import { ArrowLeftRight, Dices, WandSparkles, X } from "lucide-react";
import { type KeyboardEvent, useRef } from "react";
import { useTranslation } from "react-i18next";
import { generation } from "@/api/clients";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Field, IconButton, Input, Notice, Select, TextArea } from "@/components/ui";
import { JOBS } from "@/features/queue/watch";
import { type Model, ModelKind } from "@/gen/pingvas/models/v1/model_pb";
import { changeDraft, type Draft, requestFor, useDraft } from "./draft";
import { submits } from "./submitKey";
import { usePrice } from "./usePrice";

const PRESETS = [
  [256, 256],
  [512, 512],
  [768, 512],
  [512, 768],
  [1024, 1024],
  [1024, 576],
  [576, 1024],
] as const;
const COUNTS = [1, 2, 3, 4];

/** Everything that a picture is made from, and the button that makes it. */
export function Controls({ models }: { models: Model[] }) {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const draft = useDraft();
  const price = usePrice(draft);
  const submission = useSubmission(draft);
  const refusal = submission.error ?? price.error;
  const shown = ["prompt", "width_px", "height_px", "step_count", "seed", "image_count", "guidance_scale"];
  const isShownAtField = shown.some((field) => violationOf(refusal, field));

  function press(event: KeyboardEvent<HTMLTextAreaElement>) {
    if (submits({ ...pick(event), isComposing: event.nativeEvent.isComposing })) {
      event.preventDefault();
      submission.submit();
    }
  }

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
          <TextArea
            {...ids}
            rows={5}
            maxLength={2000}
            value={draft.prompt}
            placeholder={t("generate.promptPlaceholder")}
            onChange={(event) => changeDraft({ prompt: event.target.value })}
            onKeyDown={press}
          />
        )}
      </Field>
      <Field label={t("generate.negative")} problem={violationOf(refusal, "negative_prompt")}>
        {(ids) => (
          <TextArea
            {...ids}
            rows={2}
            maxLength={2000}
            value={draft.negativePrompt}
            placeholder={t("generate.negativePlaceholder")}
            onChange={(event) => changeDraft({ negativePrompt: event.target.value })}
            onKeyDown={press}
          />
        )}
      </Field>
      {draft.source && <SourcePicture draft={draft} />}
      <ModelChoice models={models} draft={draft} />
      <Size draft={draft} refusal={refusal} />
      <Count draft={draft} problem={violationOf(refusal, "image_count")} />
      <Advanced models={models} draft={draft} refusal={refusal} />
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
    mutate(pending.current);
  }
  return { submit, error };
}

function pick({ key, ctrlKey, metaKey, keyCode }: KeyboardEvent) {
  return { key, ctrlKey, metaKey, keyCode };
}

function SourcePicture({ draft }: { draft: Draft }) {
  const { t } = useTranslation();
  return (
    <div className="flex flex-col gap-3 rounded-lg border border-line p-3">
      <div className="flex items-center gap-3">
        <img src={draft.source?.url} alt="" className="size-16 rounded-md object-cover" />
        <span className="flex-1 text-sm text-muted">{t("generate.source")}</span>
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

function ModelChoice({ models, draft }: { models: Model[]; draft: Draft }) {
  const { t } = useTranslation();
  const checkpoints = models.filter((model) => model.kind !== ModelKind.LORA);
  return (
    <Field label={t("generate.model")}>
      {(ids) => (
        <Select
          {...ids}
          value={draft.modelId}
          onChange={(event) => changeDraft({ modelId: event.target.value, scheduler: "" })}
        >
          <option value="">{t("generate.defaultModel")}</option>
          {checkpoints.map((model) => (
            <option key={model.modelId} value={model.modelId}>
              {model.displayName}
            </option>
          ))}
        </Select>
      )}
    </Field>
  );
}

function Size({ draft, refusal }: { draft: Draft; refusal: unknown }) {
  const { t } = useTranslation();
  const { widthPx, heightPx } = draft;
  const chosen = widthPx ? `${widthPx}x${heightPx}` : "";
  const isPreset = PRESETS.some(([width, height]) => chosen === `${width}x${height}`);
  return (
    <Field
      label={t("generate.size")}
      problem={violationOf(refusal, "width_px") ?? violationOf(refusal, "height_px")}
    >
      {(ids) => (
        <div className="flex gap-2">
          <Select
            {...ids}
            value={chosen}
            onChange={(event) => {
              const [width = 0, height = 0] = event.target.value.split("x").map(Number);
              changeDraft({ widthPx: width, heightPx: height });
            }}
          >
            <option value="">{t("generate.ownSize")}</option>
            {chosen && !isPreset && <option value={chosen}>{chosen.replace("x", " × ")}</option>}
            {PRESETS.map(([width, height]) => (
              <option key={`${width}x${height}`} value={`${width}x${height}`}>
                {width} × {height}
              </option>
            ))}
          </Select>
          <IconButton
            label={t("generate.swap")}
            disabled={!widthPx || widthPx === heightPx}
            onClick={() => changeDraft({ widthPx: heightPx, heightPx: widthPx })}
          >
            <ArrowLeftRight className="size-4" aria-hidden />
          </IconButton>
        </div>
      )}
    </Field>
  );
}

function Count({ draft, problem }: { draft: Draft; problem: string | undefined }) {
  const { t } = useTranslation();
  return (
    <fieldset className="flex flex-col gap-1.5">
      <legend className="mb-1.5 text-sm font-medium text-muted">{t("generate.count")}</legend>
      <div className="grid grid-cols-4 gap-1 rounded-lg bg-raised p-1">
        {COUNTS.map((count) => (
          <label
            key={count}
            className="cursor-pointer rounded-md py-1.5 text-center tabular-nums has-checked:bg-surface has-checked:font-semibold has-focus-visible:outline-2 has-focus-visible:outline-accent"
          >
            <input
              type="radio"
              name="count"
              className="sr-only"
              checked={draft.imageCount === count}
              onChange={() => changeDraft({ imageCount: count })}
            />
            {count}
          </label>
        ))}
      </div>
      {problem && (
        <p role="alert" className="text-sm text-danger">
          {problem}
        </p>
      )}
    </fieldset>
  );
}

function Advanced({ models, draft, refusal }: { models: Model[]; draft: Draft; refusal: unknown }) {
  const { t } = useTranslation();
  const model = models.find(({ modelId }) => modelId === draft.modelId);
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
            </div>
          )}
        </Field>
      </div>
    </details>
  );
}
