import { type Ref, useEffect, useImperativeHandle, useRef } from "react";
import { useTranslation } from "react-i18next";
import type { Painter } from "./painter";
import { type Settings, Surface } from "./surface";

/** What the toolbar and keys move. */
export type Viewing = Pick<Surface, "fit" | "zoom">;

/** The picture with the mask on it, to be painted on. */
export function Canvas({
  picture,
  painter,
  settings,
  ref,
}: {
  picture: ImageBitmap;
  painter: Painter;
  settings: Settings;
  ref: Ref<Viewing>;
}) {
  const { t } = useTranslation();
  const canvas = useRef<HTMLCanvasElement>(null);
  const surface = useRef<Surface>(undefined);
  const latest = useRef(settings);
  latest.current = settings;
  useEffect(() => {
    if (!canvas.current) return;
    const made = new Surface(canvas.current, picture, painter, latest.current);
    surface.current = made;
    return () => made.dispose();
  }, [picture, painter]);
  useEffect(() => surface.current?.change(settings), [settings]);
  useImperativeHandle(ref, () => ({
    fit: () => surface.current?.fit(),
    zoom: (factor) => surface.current?.zoom(factor),
  }));
  return (
    // biome-ignore lint/a11y/noInteractiveElementToNoninteractiveRole: with this role arrows and Enter reach it, which paint
    <canvas
      ref={canvas}
      tabIndex={0}
      role="application"
      aria-label={t("editor.canvas")}
      aria-describedby="editor-keys"
      className="absolute inset-0 size-full cursor-crosshair touch-none outline-offset-[-2px]"
    />
  );
}
