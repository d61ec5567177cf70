import { FolderMinus, ImageUp } from "lucide-react";
import { useTranslation } from "react-i18next";
import { Button } from "@/components/ui";
import { type Branch, indented } from "./boards";

/** Puts the selected pictures on a board, takes them off the one that is open, or makes one its cover. */
export function BoardActions({
  tree,
  open,
  onAdd,
  onTakeOff,
  onCover,
}: {
  tree: Branch[];
  open: string | undefined;
  onAdd: (boardId: string) => void;
  onTakeOff: (boardId: string) => void;
  /** Absent: no single picture is selected. */
  onCover: ((boardId: string) => void) | undefined;
}) {
  const { t } = useTranslation();
  const isOnBoard = tree.some(({ board }) => board.boardId === open);
  return (
    <>
      {tree.length > 0 && (
        <select
          aria-label={t("boards.add")}
          value=""
          onChange={(event) => onAdd(event.target.value)}
          className="h-9 max-w-48 rounded-lg border border-line bg-raised px-2 font-medium"
        >
          <option value="" disabled>
            {t("boards.add")}
          </option>
          {tree.map((branch) => (
            <option key={branch.board.boardId} value={branch.board.boardId}>
              {indented(branch)}
            </option>
          ))}
        </select>
      )}
      {open && isOnBoard && (
        <Button onClick={() => onTakeOff(open)}>
          <FolderMinus className="size-4" aria-hidden />
          {t("boards.takeOff")}
        </Button>
      )}
      {open && isOnBoard && onCover && (
        <Button onClick={() => onCover(open)}>
          <ImageUp className="size-4" aria-hidden />
          {t("boards.cover")}
        </Button>
      )}
    </>
  );
}
