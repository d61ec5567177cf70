import { useState } from "react";
import { useTranslation } from "react-i18next";

/** Two pictures of the same size on top of each other, with an edge between them that is moved by pointer or arrow keys. */
export function Compare({ before, after, alt }: { before: string; after: string; alt: string }) {
  const { t } = useTranslation();
  const [percent, setPercent] = useState(50);
  return (
    <div className="relative flex size-full items-center justify-center">
      <img src={after} alt={alt} className="absolute size-full object-contain" />
      <img
        src={before}
        alt=""
        className="absolute size-full object-contain"
        style={{ clipPath: `inset(0 ${100 - percent}% 0 0)` }}
      />
      <div
        className="pointer-events-none absolute inset-y-0 w-0.5 bg-white shadow-[0_0_0_1px_black]"
        style={{ left: `${percent}%` }}
      />
      <input
        type="range"
        aria-label={t("editor.compare")}
        value={percent}
        onChange={(event) => setPercent(event.target.valueAsNumber)}
        className="absolute inset-0 size-full cursor-ew-resize opacity-0 focus-visible:opacity-20"
      />
      <span className="pointer-events-none absolute bottom-2 left-2 rounded bg-black/70 px-2 py-0.5 text-xs text-white">
        {t("editor.before")}
      </span>
      <span className="pointer-events-none absolute right-2 bottom-2 rounded bg-black/70 px-2 py-0.5 text-xs text-white">
        {t("editor.after")}
      </span>
    </div>
  );
}
