import clsx from "clsx";
import { Archive, FolderPlus, Images, type LucideIcon, Pencil, Shapes } from "lucide-react";
import { type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { IconButton, Select } from "@/components/ui";
import type { Board } from "@/gen/pingvas/gallery/v1/board_pb";
import { BoardDialog } from "./BoardDialog";
import { type Branch, draggedImages, dragsImages, indented } from "./boards";
import { ON_NO_BOARD } from "./images";

const INDENT_PX = 14;
/** Deeper boards aren't indented any further, so that their names stay legible. */
const DEEPEST = 6;

/** The boards beside the grid; on a narrow screen a select above it. Pictures can be dropped on a board. */
export function BoardColumn({
  tree,
  open,
  archive,
  onOpen,
  onDrop,
}: {
  tree: Branch[];
  open: string | undefined;
  /** Whether archived boards are shown too. Absent: there are none. */
  archive: { isShown: boolean; onShow: (isShown: boolean) => void } | undefined;
  /** "" opens all pictures. */
  onOpen: (board: string) => void;
  onDrop: (imageIds: string[], boardId: string) => void;
}) {
  const { t } = useTranslation();
  const [dialog, setDialog] = useState<{ board?: Board }>();
  const opened = tree.find(({ board }) => board.boardId === open)?.board;

  return (
    <>
      <nav
        aria-label={t("boards.title")}
        className="hidden w-60 shrink-0 flex-col gap-0.5 overflow-y-auto border-r border-line bg-surface p-2 md:flex"
      >
        <Place isOpen={!open} onOpen={() => onOpen("")} Icon={Images}>
          {t("boards.all")}
        </Place>
        <Place isOpen={open === ON_NO_BOARD} onOpen={() => onOpen(ON_NO_BOARD)} Icon={Shapes}>
          {t("boards.none")}
        </Place>
        <div className="mt-3 flex items-center justify-between pl-2">
          <h2 className="text-sm font-medium text-muted">{t("boards.title")}</h2>
          <IconButton label={t("boards.create")} onClick={() => setDialog({})}>
            <FolderPlus className="size-4" aria-hidden />
          </IconButton>
        </div>
        {tree.length === 0 && <p className="px-2 text-sm text-muted">{t("boards.hint")}</p>}
        {tree.map(({ board, depth }) => (
          <BoardRow
            key={board.boardId}
            board={board}
            depth={depth}
            isOpen={board.boardId === open}
            onOpen={() => onOpen(board.boardId)}
            onEdit={() => setDialog({ board })}
            onDrop={(imageIds) => onDrop(imageIds, board.boardId)}
          />
        ))}
        {archive && (
          <label className="mt-3 flex items-center gap-2 px-2 text-sm text-muted">
            <input
              type="checkbox"
              className="size-4 accent-accent"
              checked={archive.isShown}
              onChange={(event) => archive.onShow(event.target.checked)}
            />
            {t("boards.showArchived")}
          </label>
        )}
      </nav>
      <div className="flex items-center gap-1 border-b border-line bg-surface px-4 py-2 md:hidden">
        <Select
          aria-label={t("boards.title")}
          value={open ?? ""}
          onChange={(event) => onOpen(event.target.value)}
        >
          <option value="">{t("boards.all")}</option>
          <option value={ON_NO_BOARD}>{t("boards.none")}</option>
          {tree.map((branch) => (
            <option key={branch.board.boardId} value={branch.board.boardId}>
              {indented(branch)} ({branch.board.imageCount})
            </option>
          ))}
        </Select>
        {opened && (
          <IconButton
            label={t("boards.edit", { name: opened.name })}
            onClick={() => setDialog({ board: opened })}
          >
            <Pencil className="size-4" aria-hidden />
          </IconButton>
        )}
        <IconButton label={t("boards.create")} onClick={() => setDialog({})}>
          <FolderPlus className="size-4" aria-hidden />
        </IconButton>
      </div>
      {dialog && (
        <BoardDialog
          {...dialog}
          tree={tree}
          within={opened?.boardId ?? ""}
          onGone={(boardId) => boardId === open && onOpen("")}
          onClose={() => setDialog(undefined)}
        />
      )}
    </>
  );
}

function BoardRow({
  board,
  depth,
  isOpen,
  onOpen,
  onEdit,
  onDrop,
}: {
  board: Board;
  depth: number;
  isOpen: boolean;
  onOpen: () => void;
  onEdit: () => void;
  onDrop: (imageIds: string[]) => void;
}) {
  const { t } = useTranslation();
  const [isTarget, setIsTarget] = useState(false);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: dragging is a shortcut; the toolbar does the same by keyboard
    <div
      className={clsx(
        "group relative flex items-center rounded-lg",
        isTarget && "ring-2 ring-accent ring-inset",
      )}
      style={{ paddingLeft: Math.min(depth, DEEPEST) * INDENT_PX }}
      onDragOver={(event) => {
        if (!dragsImages(event.dataTransfer)) return;
        event.preventDefault();
        setIsTarget(true);
      }}
      onDragLeave={() => setIsTarget(false)}
      onDrop={(event) => {
        event.preventDefault();
        setIsTarget(false);
        onDrop(draggedImages(event.dataTransfer));
      }}
    >
      <Place isOpen={isOpen} onOpen={onOpen} cover={board.coverThumbnailUrl}>
        <span
          className={clsx("flex-1 truncate text-left", board.archived && "text-muted")}
          title={board.name}
        >
          {board.name}
        </span>
        {board.archived && (
          <Archive className="size-4 text-muted" role="img" aria-label={t("boards.archived")} />
        )}
        <span className="text-xs text-muted tabular-nums group-focus-within:opacity-0 group-hover:opacity-0">
          {board.imageCount}
        </span>
      </Place>
      <IconButton
        label={t("boards.edit", { name: board.name })}
        onClick={onEdit}
        className="absolute right-0 opacity-0 group-hover:opacity-100 focus-visible:opacity-100 pointer-coarse:opacity-100"
      >
        <Pencil className="size-4" aria-hidden />
      </IconButton>
    </div>
  );
}

function Place({
  isOpen,
  onOpen,
  Icon,
  cover,
  children,
}: {
  isOpen: boolean;
  onOpen: () => void;
  Icon?: LucideIcon;
  cover?: string;
  children: ReactNode;
}) {
  return (
    <button
      type="button"
      aria-current={isOpen ? "page" : undefined}
      onClick={onOpen}
      className={clsx(
        "flex h-10 w-full min-w-0 items-center gap-2 rounded-lg px-2 transition hover:bg-raised",
        isOpen && "bg-raised font-medium",
      )}
    >
      {Icon && <Icon className="size-5 shrink-0 text-muted" aria-hidden />}
      {!Icon && (
        <span className="size-7 shrink-0 overflow-hidden rounded-md bg-raised">{coverImage(cover)}</span>
      )}
      {children}
    </button>
  );
}

function coverImage(cover: string | undefined): ReactNode {
  return cover && <img src={cover} alt="" draggable={false} className="size-full object-cover" />;
}
