import { useTranslation } from "react-i18next";
import { Field, Input } from "@/components/ui";
import { type Frame, SIDES, type Side, withSide } from "./frame";
import type { Repainting } from "./inpainting";
import type { Painter } from "./painter";
import type { Settings } from "./surface";

const SMALLEST_RADIUS_PX = 1;
/** Sides of pictures are multiples of it. */
const GROWTH_STEP_PX = 8;
const WIDEST_FEATHER_PX = 64;

/** The brush, the edge of the mask, how much may change, and how far the picture grows. */
export function Options({
  settings,
  repainting,
  painter,
  frame,
  onSettings,
  onRepainting,
}: {
  settings: Settings;
  repainting: Repainting;
  painter: Painter;
  frame: Frame;
  onSettings: (changes: Partial<Settings>) => void;
  onRepainting: (changes: Partial<Repainting>) => void;
}) {
  const { t } = useTranslation();
  const { mask } = painter;
  const sides: Record<Side, string> = {
    left: t("editor.left"),
    right: t("editor.right"),
    top: t("editor.top"),
    bottom: t("editor.bottom"),
  };
  return (
    <>
      <div className="grid grid-cols-2 gap-3">
        <Slider
          label={t("editor.size")}
          shown={`${Math.round(settings.radiusPx * 2)} px`}
          value={settings.radiusPx}
          least={SMALLEST_RADIUS_PX}
          most={largestRadius(mask)}
          onChange={(radiusPx) => onSettings({ radiusPx })}
        />
        <Slider
          label={t("editor.hardness")}
          shown={`${Math.round(settings.hardness * 100)} %`}
          value={settings.hardness}
          least={0}
          most={1}
          step={0.05}
          onChange={(hardness) => onSettings({ hardness })}
        />
        <Slider
          label={t("editor.feather")}
          shown={`${repainting.featherPx} px`}
          value={repainting.featherPx}
          least={0}
          most={WIDEST_FEATHER_PX}
          onChange={(featherPx) => onRepainting({ featherPx })}
        />
        <Slider
          label={t("generate.strength")}
          shown={repainting.strength.toFixed(2)}
          value={repainting.strength}
          least={0.05}
          most={1}
          step={0.05}
          onChange={(strength) => onRepainting({ strength })}
        />
      </div>
      <fieldset className="grid grid-cols-4 gap-2">
        <legend className="mb-1.5 text-sm font-medium text-muted">{t("editor.grow")}</legend>
        {SIDES.map((side) => (
          <Field key={side} label={sides[side]}>
            {(ids) => (
              <Input
                {...ids}
                type="number"
                min={0}
                step={GROWTH_STEP_PX}
                className="px-2!"
                value={frame[side]}
                onChange={(event) =>
                  painter.grow(withSide(frame, side, event.target.valueAsNumber, mask, settings.largestPx))
                }
              />
            )}
          </Field>
        ))}
      </fieldset>
    </>
  );
}

export function largestRadius({ widthPx, heightPx }: { widthPx: number; heightPx: number }): number {
  return Math.max(widthPx, heightPx) / 4;
}

function Slider({
  label,
  shown,
  value,
  least,
  most,
  step = 1,
  onChange,
}: {
  label: string;
  shown: string;
  value: number;
  least: number;
  most: number;
  step?: number;
  onChange: (value: number) => void;
}) {
  return (
    <Field label={label} hint={shown}>
      {(ids) => (
        <input
          {...ids}
          type="range"
          min={least}
          max={most}
          step={step}
          value={value}
          aria-valuetext={shown}
          onChange={(event) => onChange(event.target.valueAsNumber)}
        />
      )}
    </Field>
  );
}
