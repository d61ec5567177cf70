import { useQuery } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { lineage } from "@/api/lineage";
import { type Image, ImageOperation } from "@/gen/pingvas/gallery/v1/image_pb";

const FRESH_MS = 60_000;

/** What a picture was made from, and what was made from it; a click opens it. */
export function Lineage({ imageId, onOpen }: { imageId: string; onOpen: (imageId: string) => void }) {
  const { t } = useTranslation();
  const { data } = useQuery({
    queryKey: ["lineage", imageId],
    queryFn: () => lineage.getImageLineage({ imageId }),
    staleTime: FRESH_MS,
  });
  if (!data) return null;
  return (
    <>
      <Row title={t("lineage.from")} images={data.ancestors} onOpen={onOpen} />
      <Row title={t("lineage.into")} images={data.descendants} onOpen={onOpen} />
    </>
  );
}

function Row({
  title,
  images,
  onOpen,
}: {
  title: string;
  images: Image[];
  onOpen: (imageId: string) => void;
}) {
  const { t } = useTranslation();
  if (images.length === 0) return null;
  return (
    <section aria-label={title} className="flex flex-col gap-1.5">
      <h3 className="text-sm text-muted">{title}</h3>
      <ul className="flex flex-wrap gap-1.5">
        {images.map((image) => (
          <li key={image.imageId}>
            <button
              type="button"
              aria-label={t("lineage.open", { name: image.title || image.prompt || image.imageId })}
              className="relative block rounded-md"
              onClick={() => onOpen(image.imageId)}
            >
              <img src={image.thumbnailUrl} alt="" className="size-14 rounded-md object-cover" />
              {image.operation === ImageOperation.UPSCALE && (
                <span className="absolute right-0.5 bottom-0.5 rounded bg-canvas/85 px-1 text-[10px]">
                  {t("lineage.upscaled")}
                </span>
              )}
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
