import clsx from "clsx";
import { ArrowLeftRight } from "lucide-react";
import { useTranslation } from "react-i18next";
import { violationOf } from "@/app/useProblem";
import { Field, IconButton, Select } from "@/components/ui";
import type { Model } from "@/gen/pingvas/models/v1/model_pb";
import { changeDraft, type Draft } from "./draft";
import { useLimits } from "./models";
import { RATIOS, sizeFor } from "./sizes";

const PRESETS = [
  [256, 256],
  [512, 512],
  [768, 512],
  [512, 768],
  [1024, 1024],
  [1024, 576],
  [576, 1024],
] as const;
/** As long as the limits of the tier aren't known. The server refuses what is above them. */
const SAFE_SIDE_PX = 768;
const SAFE_COUNT = 4;

export function Size({
  model,
  draft,
  refusal,
}: {
  model: Model | undefined;
  draft: Draft;
  refusal: unknown;
}) {
  const { t } = useTranslation();
  const { widthPx, heightPx } = draft;
  const largest = useLimits()?.largestSidePx || SAFE_SIDE_PX;
  const chosen = widthPx ? `${widthPx}x${heightPx}` : "";
  const isPreset = PRESETS.some(([width, height]) => chosen === `${width}x${height}`);
  const native = model && { widthPx: model.nativeWidthPx, heightPx: model.nativeHeightPx };
  return (
    <div className="flex flex-col gap-2">
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
                  {`${width} × ${height}`}
                  {Math.max(width, height) > largest && ` (${t("generate.tooLarge")})`}
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
      {/* biome-ignore lint/a11y/useSemanticElements: a fieldset would need a legend in sight */}
      <div role="group" aria-label={t("generate.aspect")} className="grid grid-cols-7 gap-1">
        {RATIOS.map((ratio) => {
          const size = sizeFor(ratio, native, largest);
          const isChosen = widthPx === size.widthPx && heightPx === size.heightPx;
          return (
            <button
              key={ratio}
              type="button"
              aria-pressed={isChosen}
              title={`${size.widthPx} × ${size.heightPx}`}
              className={clsx(
                "flex flex-col items-center gap-1 rounded-md border py-1.5 text-xs tabular-nums transition",
                isChosen ? "border-accent text-ink" : "border-line text-muted hover:text-ink",
              )}
              onClick={() => changeDraft(size)}
            >
              <span className="flex h-4 items-center" aria-hidden>
                <Shape {...size} />
              </span>
              {ratio}
            </button>
          );
        })}
      </div>
    </div>
  );
}

function Shape({ widthPx, heightPx }: { widthPx: number; heightPx: number }) {
  const longer = Math.max(widthPx, heightPx) / 16;
  return (
    <svg width={widthPx / longer} height={heightPx / longer} aria-hidden="true">
      <rect width="100%" height="100%" rx="2" fill="currentColor" opacity="0.6" />
    </svg>
  );
}

export function Count({ draft, problem }: { draft: Draft; problem: string | undefined }) {
  const { t } = useTranslation();
  const most = useLimits()?.imagesPerJob || SAFE_COUNT;
  const counts = Array.from({ length: most }, (_, index) => index + 1);
  return (
    <fieldset className="flex flex-col gap-1.5">
      <legend className="mb-1.5 text-sm font-medium text-muted">{t("generate.count")}</legend>
      <div className="flex gap-1 rounded-lg bg-raised p-1">
        {counts.map((count) => (
          <label
            key={count}
            className="flex-1 cursor-pointer rounded-md py-1.5 text-center tabular-nums has-checked:bg-surface has-checked:font-semibold has-focus-visible:outline-2 has-focus-visible:outline-accent"
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
