import { timestampDate } from "@bufbuild/protobuf/wkt";
import { useVirtualizer } from "@tanstack/react-virtual";
import { Star } from "lucide-react";
import {
  memo,
  type PointerEvent,
  type RefObject,
  useEffect,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "react";
import { useTranslation } from "react-i18next";
import type { Image } from "@/gen/pingvas/gallery/v1/image_pb";
import { type Rectangle, tilesIn } from "./rectangle";
import { isTiles, rowsOf } from "./rows";

const SMALLEST_TILE_PX = 168;
const GAP_PX = 8;
const PADDING_PX = 16;
const HEADING_PX = 44;

interface TileActions {
  onOpen: (imageId: string) => void;
  onDrag: (data: DataTransfer, imageId: string) => void;
  onSelect: (imageId: string, isRange: boolean) => void;
}

/** A grid of which only the rows on the screen exist. */
export function Grid({
  images,
  byDay,
  selected,
  onOpen,
  onDrag,
  onSelect,
  onSelectAll,
  onEnd,
}: {
  images: Image[];
  /** Whether each day has a heading. */
  byDay: boolean;
  selected: ReadonlySet<string>;
  /** Selects these and no others. */
  onSelectAll: (imageIds: string[]) => void;
  onEnd: () => void;
} & TileActions) {
  const { t, i18n } = useTranslation();
  const scroller = useRef<HTMLElement>(null);
  const width = useWidth(scroller);
  const inner = Math.max(0, width - 2 * PADDING_PX);
  const columns = Math.max(2, Math.floor((inner + GAP_PX) / (SMALLEST_TILE_PX + GAP_PX)));
  const side = (inner - (columns - 1) * GAP_PX) / columns;
  const list = useMemo(() => {
    const timeOf = (index: number) => {
      const time = images[index]?.createTime;
      return time && timestampDate(time);
    };
    return rowsOf(images.length, columns, byDay ? timeOf : undefined);
  }, [images, columns, byDay]);
  const rows = useVirtualizer({
    count: list.length,
    getScrollElement: () => scroller.current,
    estimateSize: (index) => {
      const row = list[index];
      return row && !isTiles(row) ? HEADING_PX : side + GAP_PX;
    },
    paddingStart: PADDING_PX,
    overscan: 3,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: the rows' heights depend on these alone
  useLayoutEffect(() => rows.measure(), [list, side]);
  const shown = rows.getVirtualItems();
  const last = shown.at(-1)?.index ?? 0;
  // biome-ignore lint/correctness/useExhaustiveDependencies: asked again whenever another row comes into view
  useEffect(() => {
    if (last + 4 >= list.length) onEnd();
  }, [last, list.length]);

  const { rectangle, ...drawing } = useRectangle(scroller, (drawn) => {
    const placed = rows.measurementsCache.flatMap(({ index, start }) => {
      const row = list[index];
      return row && isTiles(row) ? [{ ...row, topPx: start }] : [];
    });
    const layout = { rows: placed, sidePx: side, gapPx: GAP_PX, paddingPx: PADDING_PX };
    onSelectAll(tilesIn(drawn, layout).flatMap((index) => images[index]?.imageId ?? []));
  });
  const actions = useLasting({ onOpen, onDrag, onSelect });
  const days = useMemo(() => new Intl.DateTimeFormat(i18n.language, { dateStyle: "full" }), [i18n.language]);

  return (
    <section
      ref={scroller}
      {...drawing}
      className="h-full overflow-y-auto select-none"
      aria-label={t("gallery.title")}
    >
      <div className="relative w-full" style={{ height: rows.getTotalSize() }}>
        {rectangle && (
          <div
            className="pointer-events-none absolute z-10 rounded border border-accent bg-accent/15"
            style={{
              left: Math.min(rectangle.fromX, rectangle.toX),
              top: Math.min(rectangle.fromY, rectangle.toY),
              width: Math.abs(rectangle.toX - rectangle.fromX),
              height: Math.abs(rectangle.toY - rectangle.fromY),
            }}
          />
        )}
        {shown.map(({ key, index, start }) => {
          const row = list[index];
          if (!row) return null;
          if (!isTiles(row)) {
            return (
              <h3
                key={key}
                className="absolute inset-x-4 flex items-end pb-2 font-medium"
                style={{ transform: `translateY(${start}px)`, height: HEADING_PX }}
              >
                {days.format(row.day)}
              </h3>
            );
          }
          return (
            <ul
              key={key}
              className="absolute inset-x-4 grid gap-2"
              style={{
                transform: `translateY(${start}px)`,
                height: side,
                gridTemplateColumns: `repeat(${columns}, minmax(0, 1fr))`,
              }}
            >
              {images.slice(row.first, row.first + row.count).map((image) => (
                <Tile
                  key={image.imageId}
                  image={image}
                  isSelected={selected.has(image.imageId)}
                  isSelecting={selected.size > 0}
                  {...actions}
                />
              ))}
            </ul>
          );
        })}
      </div>
    </section>
  );
}

/** Returns the same functions each time, which do what those do that were given last: tiles aren't drawn anew for others. */
function useLasting(given: TileActions): TileActions {
  const latest = useRef(given);
  useLayoutEffect(() => {
    latest.current = given;
  });
  const [lasting] = useState<TileActions>(() => ({
    onOpen: (imageId) => latest.current.onOpen(imageId),
    onDrag: (data, imageId) => latest.current.onDrag(data, imageId),
    onSelect: (imageId, isRange) => latest.current.onSelect(imageId, isRange),
  }));
  return lasting;
}

/**
 * One picture. Its mark selects it; so does a click while others are selected, or with Ctrl or Shift. It is drawn anew only
 * when something of it changes, and not with each row that scrolls in.
 */
const Tile = memo(function Tile({
  image,
  isSelected,
  isSelecting,
  onOpen,
  onDrag,
  onSelect,
}: {
  image: Image;
  isSelected: boolean;
  isSelecting: boolean;
} & TileActions) {
  const { t } = useTranslation();
  return (
    <li
      draggable
      onDragStart={(event) => onDrag(event.dataTransfer, image.imageId)}
      className="group relative overflow-hidden rounded-lg bg-raised"
    >
      <button
        type="button"
        onClick={(event) => {
          if (isSelecting || event.ctrlKey || event.metaKey || event.shiftKey)
            onSelect(image.imageId, event.shiftKey);
          else onOpen(image.imageId);
        }}
        className="size-full"
      >
        <img
          src={image.thumbnailUrl}
          alt={image.title || image.prompt}
          decoding="async"
          draggable={false}
          className="size-full object-cover transition group-hover:scale-105"
        />
      </button>
      <input
        type="checkbox"
        checked={isSelected}
        aria-label={t("gallery.select", { name: image.title || image.prompt })}
        onChange={() => undefined}
        onClick={(event) => onSelect(image.imageId, event.shiftKey)}
        className="absolute top-2 left-2 size-5 accent-accent opacity-0 transition checked:opacity-100 group-hover:opacity-100 focus-visible:opacity-100 pointer-coarse:opacity-100"
      />
      {image.starred && (
        <Star
          className="pointer-events-none absolute top-2 right-2 size-5 fill-amber-300 text-amber-300 drop-shadow"
          aria-label={t("gallery.starred")}
        />
      )}
      {isSelected && (
        <span className="pointer-events-none absolute inset-0 rounded-lg ring-3 ring-accent ring-inset" />
      )}
    </li>
  );
});

/** A rectangle that is drawn with the mouse, from anywhere between the tiles. Fingers scroll. */
function useRectangle(scroller: RefObject<HTMLElement | null>, onChange: (drawn: Rectangle) => void) {
  const [rectangle, setRectangle] = useState<Rectangle>();
  const here = (event: PointerEvent) => {
    const box = scroller.current?.getBoundingClientRect();
    const scrolled = scroller.current?.scrollTop ?? 0;
    return { toX: event.clientX - (box?.x ?? 0), toY: event.clientY - (box?.y ?? 0) + scrolled };
  };
  const end = () => setRectangle(undefined);
  return {
    rectangle,
    onPointerDown: (event: PointerEvent) => {
      const isOnTile = event.target instanceof Element && event.target.closest("li");
      // What is beside the content is the scrollbar.
      const isOnBar = event.nativeEvent.offsetX > (scroller.current?.clientWidth ?? 0);
      if (event.pointerType !== "mouse" || event.button !== 0 || isOnTile || isOnBar) return;
      event.currentTarget.setPointerCapture(event.pointerId);
      const { toX, toY } = here(event);
      setRectangle({ fromX: toX, fromY: toY, toX, toY });
    },
    onPointerMove: (event: PointerEvent) => {
      if (!rectangle) return;
      const drawn = { ...rectangle, ...here(event) };
      setRectangle(drawn);
      onChange(drawn);
    },
    onPointerUp: end,
    onPointerCancel: end,
  };
}

function useWidth(element: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(0);
  useLayoutEffect(() => {
    if (!element.current) return;
    // Before the first paint: the observer comes after it, and the tiles would be seen to move.
    setWidth(element.current.clientWidth);
    const observer = new ResizeObserver(([entry]) => setWidth(entry?.contentRect.width ?? 0));
    observer.observe(element.current);
    return () => observer.disconnect();
  }, [element]);
  return width;
}
