import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { Images } from "lucide-react";
import { type RefObject, useEffect, useLayoutEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { Empty } from "@/components/ui";
import type { Image } from "@/gen/pingvas/gallery/v1/image_pb";
import { useImages } from "./images";
import { Viewer } from "./Viewer";

const SMALLEST_TILE_PX = 168;
const GAP_PX = 8;
const PADDING_PX = 16;

const route = getRouteApi("/inside/gallery");

export function GalleryPage() {
  const { t } = useTranslation();
  const { image: openId } = route.useSearch();
  const navigate = useNavigate({ from: "/gallery" });
  const { data: images, hasNextPage, isFetchingNextPage, fetchNextPage } = useImages();
  const open = (imageId: string | undefined) =>
    void navigate({ search: imageId ? { image: imageId } : {}, replace: true });

  if (!images) return null;
  return (
    <>
      {images.length === 0 ? (
        <Empty icon={<Images className="size-7" aria-hidden />} title={t("gallery.empty")}>
          <p>{t("gallery.emptyHint")}</p>
        </Empty>
      ) : (
        <Grid
          images={images}
          onOpen={open}
          onEnd={() => {
            if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
          }}
        />
      )}
      {openId && <Viewer images={images} imageId={openId} onOpen={open} />}
    </>
  );
}

/** A grid of which only the rows on the screen exist. */
function Grid({
  images,
  onOpen,
  onEnd,
}: {
  images: Image[];
  onOpen: (imageId: string) => void;
  onEnd: () => void;
}) {
  const { t } = useTranslation();
  const scroller = useRef<HTMLElement>(null);
  const width = useWidth(scroller);
  const inner = Math.max(0, width - 2 * PADDING_PX);
  const columns = Math.max(2, Math.floor((inner + GAP_PX) / (SMALLEST_TILE_PX + GAP_PX)));
  const side = (inner - (columns - 1) * GAP_PX) / columns;
  const rows = useVirtualizer({
    count: Math.ceil(images.length / columns),
    getScrollElement: () => scroller.current,
    estimateSize: () => side + GAP_PX,
    paddingStart: PADDING_PX,
    overscan: 3,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: the rows' height depends on the side alone
  useLayoutEffect(() => rows.measure(), [side]);
  const shown = rows.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  // biome-ignore lint/correctness/useExhaustiveDependencies: asked again whenever another row comes into view
  useEffect(() => {
    if ((last + 4) * columns >= images.length) onEnd();
  }, [last, columns, images.length]);

  return (
    <section ref={scroller} className="h-full overflow-y-auto" aria-label={t("gallery.title")}>
      <div className="relative w-full" style={{ height: rows.getTotalSize() }}>
        {shown.map((row) => (
          <ul
            key={row.key}
            className="absolute inset-x-4 grid gap-2"
            style={{
              transform: `translateY(${row.start}px)`,
              height: side,
              gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
            }}
          >
            {images.slice(row.index * columns, (row.index + 1) * columns).map((image) => (
              <Tile key={image.imageId} image={image} onOpen={onOpen} />
            ))}
          </ul>
        ))}
      </div>
    </section>
  );
}

function Tile({ image, onOpen }: { image: Image; onOpen: (imageId: string) => void }) {
  return (
    <li>
      <button
        type="button"
        onClick={() => onOpen(image.imageId)}
        className="group size-full overflow-hidden rounded-lg bg-raised"
      >
        <img
          src={image.thumbnailUrl}
          alt={image.prompt}
          decoding="async"
          className="size-full object-cover transition group-hover:scale-105"
        />
      </button>
    </li>
  );
}

function useWidth(element: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    if (!element.current) return;
    const observer = new ResizeObserver(([entry]) => setWidth(entry?.contentRect.width ?? 0));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return width;
}
