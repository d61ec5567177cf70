import { Columns2, SquareSplitHorizontal } from "lucide-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useKeys } from "@/app/useKeys";
import { Dialog } from "@/components/Dialog";
import { Button } from "@/components/ui";
import { FITTED, Zoomable } from "@/components/Zoomable";
import { Compare } from "@/features/editor/Compare";
import type { Image } from "@/gen/pingvas/gallery/v1/image_pb";

/** Two pictures beside each other, zoomed and moved together, or on top of each other; and in what they differ. */
export function Comparison({ images, onClose }: { images: Image[]; onClose: () => void }) {
  const { t } = useTranslation();
  const [isStacked, stack] = useState(false);
  const [view, setView] = useState(FITTED);
  const [one, other] = images;
  useKeys((event) => {
    if (event.key === "m") stack((was) => !was);
  });
  if (!one || !other) return null;
  const facts: [string, (image: Image) => string][] = [
    [t("generate.prompt"), ({ prompt }) => prompt],
    [t("gallery.model"), ({ modelId }) => modelId],
    [t("gallery.size"), ({ widthPx, heightPx }) => `${widthPx} × ${heightPx}`],
    [t("gallery.seed"), ({ seed }) => String(seed)],
    [t("gallery.rating"), ({ rating }) => String(rating || "–")],
  ];
  const different = facts.filter(([, read]) => read(one) !== read(other));
  return (
    <Dialog label={t("gallery.compare")} onClose={onClose} isWide>
      <div className="h-[60dvh] rounded-lg bg-canvas">
        {isStacked ? (
          <Compare before={one.contentUrl} after={other.contentUrl} alt={other.prompt} />
        ) : (
          <div className="grid h-full grid-cols-2 gap-px">
            {[one, other].map((image) => (
              <Zoomable key={image.imageId} view={view} onView={setView}>
                <img
                  src={image.contentUrl}
                  alt={image.prompt}
                  draggable={false}
                  className="size-full object-contain"
                />
              </Zoomable>
            ))}
          </div>
        )}
      </div>
      <table className="mt-4 w-full table-fixed text-sm">
        <caption className="sr-only">{t("gallery.differences")}</caption>
        <tbody>
          {different.map(([name, read]) => (
            <tr key={name} className="align-top">
              <th scope="row" className="w-28 py-1 text-left font-normal text-muted">
                {name}
              </th>
              {[one, other].map((image) => (
                <td key={image.imageId} className="py-1 pr-3 break-words tabular-nums">
                  {read(image)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      <div className="mt-4 flex justify-end gap-2">
        <Button aria-pressed={isStacked} onClick={() => stack(!isStacked)}>
          {isStacked ? (
            <Columns2 className="size-4" aria-hidden />
          ) : (
            <SquareSplitHorizontal className="size-4" aria-hidden />
          )}
          {isStacked ? t("gallery.beside") : t("gallery.stacked")}
          <kbd className="rounded border border-line px-1.5 text-xs">M</kbd>
        </Button>
        <Button kind="primary" onClick={onClose}>
          {t("gallery.close")}
        </Button>
      </div>
    </Dialog>
  );
}
