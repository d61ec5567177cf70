import clsx from "clsx";
import {
  Brush,
  Contrast,
  Eraser,
  Expand,
  Eye,
  EyeOff,
  FileInput,
  Hand,
  type LucideIcon,
  Maximize,
  PaintBucket,
  Redo2,
  SquareX,
  Undo2,
  ZoomIn,
  ZoomOut,
} from "lucide-react";
import { useRef } from "react";
import { useTranslation } from "react-i18next";
import { IconButton } from "@/components/ui";
import type { Painted, Painter } from "./painter";
import type { Settings, Tool } from "./surface";

const ZOOM_STEP = 1.5;

/** What the pointer does, and what is done to the whole mask. Each has a key, which its label tells. */
export function ToolBar({
  settings,
  painter,
  painted,
  onChange,
  onImport,
  onFit,
  onZoom,
}: {
  settings: Settings;
  painter: Painter;
  painted: Painted;
  onChange: (changes: Partial<Settings>) => void;
  onImport: (file: File) => void;
  onFit: () => void;
  onZoom: (factor: number) => void;
}) {
  const { t } = useTranslation();
  const chooser = useRef<HTMLInputElement>(null);
  const tools: [Tool, LucideIcon, string][] = [
    ["brush", Brush, `${t("editor.brush")} (B)`],
    ["eraser", Eraser, `${t("editor.eraser")} (E)`],
    ["frame", Expand, `${t("editor.frame")} (O)`],
    ["move", Hand, `${t("editor.move")} (H)`],
  ];
  const actions: [string, LucideIcon, () => void, boolean?][] = [
    [`${t("editor.undo")} (Ctrl+Z)`, Undo2, () => painter.undo(), !painted.canUndo],
    [`${t("editor.redo")} (Ctrl+Shift+Z)`, Redo2, () => painter.redo(), !painted.canRedo],
    [`${t("editor.fill")} (G)`, PaintBucket, () => painter.fill()],
    [`${t("editor.invert")} (I)`, Contrast, () => painter.invert()],
    [`${t("editor.clear")} (Delete)`, SquareX, () => painter.clear()],
    [t("editor.import"), FileInput, () => chooser.current?.click()],
    [`${t("editor.zoomIn")} (+)`, ZoomIn, () => onZoom(ZOOM_STEP)],
    [`${t("editor.zoomOut")} (−)`, ZoomOut, () => onZoom(1 / ZOOM_STEP)],
    [`${t("editor.fit")} (0)`, Maximize, onFit],
  ];
  return (
    <div
      role="toolbar"
      aria-label={t("editor.tools")}
      className="flex shrink-0 gap-1 overflow-x-auto border-line bg-surface p-1.5 max-lg:border-b lg:flex-col lg:overflow-y-auto lg:border-r"
    >
      {tools.map(([tool, Icon, label]) => (
        <IconButton
          key={tool}
          label={label}
          aria-pressed={settings.tool === tool}
          className={clsx("shrink-0", settings.tool === tool && "bg-raised text-accent!")}
          onClick={() => onChange({ tool })}
        >
          <Icon className="size-4.5" aria-hidden />
        </IconButton>
      ))}
      <hr className="shrink-0 border-line max-lg:h-9 max-lg:border-l lg:border-t" />
      {actions.map(([label, Icon, act, isIdle = false]) => (
        <IconButton key={label} label={label} className="shrink-0" disabled={isIdle} onClick={act}>
          <Icon className="size-4.5" aria-hidden />
        </IconButton>
      ))}
      <IconButton
        label={`${t("editor.showMask")} (M)`}
        aria-pressed={settings.showsMask}
        className="shrink-0"
        onClick={() => onChange({ showsMask: !settings.showsMask })}
      >
        {settings.showsMask ? (
          <Eye className="size-4.5" aria-hidden />
        ) : (
          <EyeOff className="size-4.5" aria-hidden />
        )}
      </IconButton>
      <input
        ref={chooser}
        type="file"
        accept="image/png,image/jpeg,image/webp"
        aria-label={t("editor.import")}
        className="hidden"
        onChange={(event) => {
          const file = event.target.files?.[0];
          event.target.value = ""; // the same file may be chosen again
          if (file) onImport(file);
        }}
      />
    </div>
  );
}
