import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { Columns2, FolderOpen, Images, SearchX, Trash2 } from "lucide-react";
import { lazy, Suspense, useState } from "react";
import { useTranslation } from "react-i18next";
import { useAhead } from "@/app/useAhead";
import { useKeys } from "@/app/useKeys";
import { useProblemText } from "@/app/useProblem";
import { Button, Empty, Notice } from "@/components/ui";
import { BoardActions } from "./BoardActions";
import { BoardColumn } from "./BoardColumn";
import { dragImages, useBoardChange, useBoards, useSorting } from "./boards";
import { ExportButton, Exports } from "./Exports";
import { Grid } from "./Grid";
import { type ImageFilter, useImages } from "./images";
import { useOrganizing } from "./organizing";
import { gallerySearch } from "./search";
import { extended, NOTHING, toggled } from "./selection";
import { Actions, Filters, Undo } from "./Toolbar";
import { Viewer } from "./Viewer";

const Comparison = lazy(async () => ({ default: (await import("./Comparison")).Comparison }));
/** Two can be looked at side by side. */
const PAIR = 2;

const route = getRouteApi("/inside/gallery");

export function GalleryPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const { image, days = false, ...filter } = route.useSearch();
  const navigate = useNavigate({ from: "/gallery" });
  const { data: images, error, hasNextPage, isFetchingNextPage, fetchNextPage } = useImages(filter);
  const [withArchived, setWithArchived] = useState(false);
  const { data: boards, error: boardsError } = useBoards({ withArchived });
  const tree = boards?.tree ?? [];
  const boardChange = useBoardChange();
  const [selection, setSelection] = useState(NOTHING);
  const [isComparing, compare] = useState(false);
  const organizing = useOrganizing();
  const sorting = useSorting();
  const problem = organizing.error ?? sorting.error ?? boardChange.error ?? boardsError ?? error;
  const inBin = filter.bin ?? false;
  const listed = (images ?? []).map((image) => image.imageId);
  const selected = listed.filter((imageId) => selection.ids.has(imageId));
  const [openId, setOpenId] = useAhead(image);

  function open(imageId: string | undefined) {
    if (imageId === openId) return;
    setOpenId(imageId);
    void navigate({
      search: gallerySearch({ ...filter, days, ...(imageId && { image: imageId }) }),
      replace: true,
    });
  }

  function narrow(change: ImageFilter) {
    setSelection(NOTHING);
    void navigate({ search: gallerySearch({ ...filter, days, ...change }), replace: true });
  }
  function act(action: (ids: string[]) => void) {
    action(selected);
    setSelection(NOTHING);
  }
  useKeys((event) => {
    if (openId || document.querySelector("dialog[open]")) return;
    const isCommand = event.ctrlKey || event.metaKey;
    if (event.key === "Escape") setSelection(NOTHING);
    else if (event.key === "c" && !isCommand && selected.length === PAIR) compare(true);
    else if (event.key === "Delete" && selected.length > 0 && !inBin) act(organizing.remove);
    else if (isCommand && event.key === "z" && organizing.undoable.length > 0) {
      organizing.restore(organizing.undoable);
    } else if (isCommand && event.key === "a") {
      event.preventDefault();
      setSelection({ ids: new Set(listed) });
    }
  });

  return (
    <div className="flex h-full flex-col md:flex-row">
      <BoardColumn
        tree={tree}
        open={filter.board}
        archive={boards?.hasArchived ? { isShown: withArchived, onShow: setWithArchived } : undefined}
        onOpen={(board) => narrow({ board, bin: false })}
        onDrop={(imageIds, boardId) => {
          sorting.add(imageIds, boardId);
          setSelection(NOTHING);
        }}
      />
      <div className="relative flex min-h-0 min-w-0 flex-1 flex-col">
        <Filters
          filter={filter}
          onChange={narrow}
          byDay={days}
          onByDay={(byDay) =>
            void navigate({ search: gallerySearch({ ...filter, days: byDay }), replace: true })
          }
        >
          {!inBin && selected.length === 0 && listed.length > 0 && <ExportButton selection={{ filter }} />}
        </Filters>
        <Exports />
        {selected.length > 0 && (
          <Actions
            count={selected.length}
            inBin={inBin}
            onStar={(starred) => act((ids) => organizing.star(ids, starred))}
            onDelete={() => act(inBin ? organizing.removeForGood : organizing.remove)}
            onRestore={() => act(organizing.restore)}
            onClear={() => setSelection(NOTHING)}
          >
            {selected.length === PAIR && (
              <Button onClick={() => compare(true)}>
                <Columns2 className="size-4" aria-hidden />
                {t("gallery.compare")}
              </Button>
            )}
            <BoardActions
              tree={tree}
              open={filter.board}
              onAdd={(boardId) => act((ids) => sorting.add(ids, boardId))}
              onTakeOff={(boardId) => act((ids) => sorting.takeOff(ids, boardId))}
              onCover={
                selected.length === 1
                  ? (boardId) => act(([coverImageId = ""]) => boardChange.mutate({ boardId, coverImageId }))
                  : undefined
              }
            />
            <ExportButton selection={{ imageIds: selected }} />
          </Actions>
        )}
        {problem && (
          <div className="p-4">
            <Notice>{text(problem)}</Notice>
          </div>
        )}
        <div className="min-h-0 flex-1">
          {images?.length === 0 && <NoPictures filter={filter} />}
          {images && images.length > 0 && (
            <Grid
              images={images}
              byDay={days}
              selected={selection.ids}
              onOpen={open}
              onDrag={(data, imageId) =>
                !inBin && dragImages(data, selection.ids.has(imageId) ? selected : [imageId])
              }
              onSelect={(imageId, isRange) =>
                setSelection((now) => (isRange ? extended(now, imageId, listed) : toggled(now, imageId)))
              }
              onSelectAll={(imageIds) => setSelection({ ids: new Set(imageIds) })}
              onEnd={() => {
                if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
              }}
            />
          )}
        </div>
        {organizing.undoable.length > 0 && (
          <Undo
            count={organizing.undoable.length}
            onUndo={() => organizing.restore(organizing.undoable)}
            onClose={organizing.forgetUndo}
          />
        )}
        {openId && images && (
          <Viewer
            images={images}
            imageId={openId}
            onOpen={open}
            onStar={(image) => organizing.star([image.imageId], !image.starred)}
            onDelete={(image) => organizing.remove([image.imageId])}
            onUndo={() => {
              if (organizing.undoable.length === 0) return;
              open(organizing.undoable[0]);
              organizing.restore(organizing.undoable);
            }}
          />
        )}
        {isComparing && selected.length === PAIR && (
          <Suspense>
            <Comparison
              images={(images ?? []).filter(({ imageId }) => selection.ids.has(imageId))}
              onClose={() => compare(false)}
            />
          </Suspense>
        )}
        <p className="sr-only">{t("gallery.keys")}</p>
      </div>
    </div>
  );
}

function NoPictures({ filter }: { filter: ImageFilter }) {
  const { t } = useTranslation();
  if (filter.bin)
    return <Empty icon={<Trash2 className="size-7" aria-hidden />} title={t("gallery.binEmpty")} />;
  if (filter.board && !filter.q && !filter.starred && !filter.rating) {
    return (
      <Empty icon={<FolderOpen className="size-7" aria-hidden />} title={t("boards.empty")}>
        <p>{t("boards.hint")}</p>
      </Empty>
    );
  }
  if (filter.q || filter.starred || filter.rating) {
    return <Empty icon={<SearchX className="size-7" aria-hidden />} title={t("gallery.noneFound")} />;
  }
  return (
    <Empty icon={<Images className="size-7" aria-hidden />} title={t("gallery.empty")}>
      <p>{t("gallery.emptyHint")}</p>
    </Empty>
  );
}
