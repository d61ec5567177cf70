import clsx from "clsx";
import { CalendarDays, RotateCcw, Search, Star, Trash2, X } from "lucide-react";
import { type ReactNode, useEffect } from "react";
import { useTranslation } from "react-i18next";
import { useAhead } from "@/app/useAhead";
import { Button, IconButton, Input } from "@/components/ui";
import type { ImageFilter } from "./images";

const TYPING_MS = 250;
const RATINGS = [1, 2, 3, 4, 5];

/** Search, filters and the view, which the page's address keeps. */
export function Filters({
  filter,
  onChange,
  byDay,
  onByDay,
  children,
}: {
  filter: ImageFilter;
  onChange: (change: ImageFilter) => void;
  byDay: boolean;
  onByDay: (byDay: boolean) => void;
  children?: ReactNode;
}) {
  const { t } = useTranslation();
  return (
    <div className="flex flex-wrap items-center gap-2 border-b border-line bg-surface px-4 py-2">
      <SearchBox query={filter.q ?? ""} onChange={(q) => onChange({ q })} />
      <Toggle isOn={filter.starred ?? false} onClick={() => onChange({ starred: !filter.starred })}>
        <Star className="size-4" aria-hidden />
        {t("gallery.starred")}
      </Toggle>
      <select
        aria-label={t("gallery.rating")}
        value={filter.rating ?? 0}
        onChange={(event) => onChange({ rating: Number(event.target.value) })}
        className="h-9 rounded-lg border border-line bg-surface px-2"
      >
        <option value={0}>{t("gallery.anyRating")}</option>
        {RATINGS.map((rating) => (
          <option key={rating} value={rating}>
            {t("gallery.ratingFrom", { rating })}
          </option>
        ))}
      </select>
      <Toggle isOn={byDay} onClick={() => onByDay(!byDay)}>
        <CalendarDays className="size-4" aria-hidden />
        {t("gallery.byDay")}
      </Toggle>
      <span className="flex-1" />
      {children}
      <Toggle isOn={filter.bin ?? false} onClick={() => onChange({ bin: !filter.bin })}>
        <Trash2 className="size-4" aria-hidden />
        {t("gallery.bin")}
      </Toggle>
    </div>
  );
}

function SearchBox({ query, onChange }: { query: string; onChange: (query: string) => void }) {
  const { t } = useTranslation();
  const [typed, setTyped] = useAhead(query);
  // biome-ignore lint/correctness/useExhaustiveDependencies: follows the typing alone
  useEffect(() => {
    if (typed === query) return;
    const waiting = setTimeout(() => onChange(typed), TYPING_MS);
    return () => clearTimeout(waiting);
  }, [typed]);
  return (
    <search className="relative w-72 max-w-full">
      <Search className="pointer-events-none absolute top-2.5 left-3 size-4 text-muted" aria-hidden />
      <Input
        type="search"
        value={typed}
        maxLength={200}
        aria-label={t("gallery.search")}
        placeholder={t("gallery.search")}
        onChange={(event) => setTyped(event.target.value)}
        className="h-9 pl-9!"
      />
    </search>
  );
}

function Toggle({ isOn, onClick, children }: { isOn: boolean; onClick: () => void; children: ReactNode }) {
  return (
    <Button aria-pressed={isOn} onClick={onClick} className={clsx(isOn && "border-accent! text-accent!")}>
      {children}
    </Button>
  );
}

/** What can be done to the pictures that are selected. */
export function Actions({
  count,
  inBin,
  onStar,
  onDelete,
  onRestore,
  onClear,
  children,
}: {
  count: number;
  inBin: boolean;
  onStar: (starred: boolean) => void;
  onDelete: () => void;
  onRestore: () => void;
  onClear: () => void;
  children?: ReactNode;
}) {
  const { t } = useTranslation();
  return (
    <div
      role="toolbar"
      aria-label={t("gallery.selected", { count })}
      className="flex flex-wrap items-center gap-2 border-b border-line bg-raised px-4 py-2"
    >
      <span className="mr-2 text-sm font-medium">{t("gallery.selected", { count })}</span>
      {inBin ? (
        <Button onClick={onRestore}>
          <RotateCcw className="size-4" aria-hidden />
          {t("gallery.restore")}
        </Button>
      ) : (
        <>
          <Button onClick={() => onStar(true)}>
            <Star className="size-4" aria-hidden />
            {t("gallery.star")}
          </Button>
          <Button onClick={() => onStar(false)}>{t("gallery.unstar")}</Button>
          {children}
        </>
      )}
      <Button kind="danger" onClick={onDelete}>
        <Trash2 className="size-4" aria-hidden />
        {inBin ? t("gallery.deleteForGood") : t("gallery.delete")}
      </Button>
      <span className="flex-1" />
      <IconButton label={t("gallery.deselect")} onClick={onClear}>
        <X className="size-4" aria-hidden />
      </IconButton>
    </div>
  );
}

/** Tells what was deleted, for as long as it can be taken back by one click. */
export function Undo({ count, onUndo, onClose }: { count: number; onUndo: () => void; onClose: () => void }) {
  const { t } = useTranslation();
  return (
    <div
      role="status"
      className="absolute bottom-4 left-1/2 z-10 flex -translate-x-1/2 items-center gap-2 rounded-xl border border-line bg-surface px-4 py-2 shadow-lg"
    >
      {t("gallery.deleted", { count })}
      <Button kind="ghost" onClick={onUndo} className="text-accent!">
        {t("gallery.undo")}
      </Button>
      <IconButton label={t("gallery.close")} onClick={onClose}>
        <X className="size-4" aria-hidden />
      </IconButton>
    </div>
  );
}
