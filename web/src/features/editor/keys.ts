/** The keys of the editor. Arrows and Enter belong to the canvas, which has them while it has the focus. */

import { useKeys } from "@/app/useKeys";
import type { Painter } from "./painter";
import type { Settings, Tool } from "./surface";

const TOOLS: Record<string, Tool> = { b: "brush", e: "eraser", o: "frame", h: "move" };
const SIZE_STEP = 1.2;
const HARDNESS_STEP = 0.1;
const ZOOM_STEP = 1.5;

interface Handles {
  painter: Painter;
  settings: Settings;
  largestRadiusPx: number;
  onChange: (changes: Partial<Settings>) => void;
  onFit: () => void;
  onZoom: (factor: number) => void;
}

export function useEditorKeys({
  painter,
  settings,
  largestRadiusPx,
  onChange,
  onFit,
  onZoom,
}: Handles): void {
  const resize = (factor: number) =>
    onChange({ radiusPx: Math.min(largestRadiusPx, Math.max(1, settings.radiusPx * factor)) });
  const harden = (by: number) =>
    onChange({ hardness: Math.min(1, Math.max(0, Math.round((settings.hardness + by) * 100) / 100)) });
  const actions = new Map([
    ["[", () => resize(1 / SIZE_STEP)],
    ["]", () => resize(SIZE_STEP)],
    ["{", () => harden(-HARDNESS_STEP)],
    ["}", () => harden(HARDNESS_STEP)],
    ["g", () => painter.fill()],
    ["i", () => painter.invert()],
    ["Delete", () => painter.clear()],
    ["Backspace", () => painter.clear()],
    ["m", () => onChange({ showsMask: !settings.showsMask })],
    ["0", onFit],
    ["1", () => onZoom(0)],
    ["+", () => onZoom(ZOOM_STEP)],
    ["=", () => onZoom(ZOOM_STEP)],
    ["-", () => onZoom(1 / ZOOM_STEP)],
  ]);
  useKeys((event) => {
    if (document.querySelector("dialog[open]") || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey) {
      if (key === "y" || (key === "z" && event.shiftKey)) painter.redo();
      else if (key === "z") painter.undo();
      else return;
    } else if (TOOLS[key]) onChange({ tool: TOOLS[key] });
    else if (actions.has(key)) actions.get(key)?.();
    else return;
    event.preventDefault();
  });
}
