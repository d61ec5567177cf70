import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Dialog } from "@/components/Dialog";
import { Button, Field, Input, Notice, Select } from "@/components/ui";
import type { Board } from "@/gen/pingvas/gallery/v1/board_pb";
import {
  type Branch,
  indented,
  placesFor,
  useBoardChange,
  useBoardDeletion,
  useBoardWriting,
} from "./boards";

/** Asks for the name and place of a new board, or changes or deletes one that is there. */
export function BoardDialog({
  board,
  tree,
  within,
  onGone,
  onClose,
}: {
  board?: Board;
  tree: Branch[];
  /** The board that a new one lies in, unless the person chooses another. */
  within: string;
  /** The board was deleted or put away. */
  onGone: (boardId: string) => void;
  onClose: () => void;
}) {
  const { t } = useTranslation();
  const text = useProblemText();
  const [name, setName] = useState(board?.name ?? "");
  const [parentBoardId, setParentBoardId] = useState(board?.parentBoardId ?? within);
  // A repeated click, or one after a lost answer, creates no second board.
  const [requestId] = useState(() => crypto.randomUUID());
  const writing = useBoardWriting(board?.boardId);
  const nameProblem = violationOf(writing.error, "name");
  const places = placesFor(board?.boardId, tree);

  function write(event: FormEvent) {
    event.preventDefault();
    writing.mutate({ name, parentBoardId, requestId }, { onSuccess: onClose });
  }
  return (
    <Dialog label={board ? t("boards.edit", { name: board.name }) : t("boards.create")} onClose={onClose}>
      <form onSubmit={write} className="flex flex-col gap-4">
        <Field label={t("boards.name")} problem={nameProblem}>
          {(ids) => (
            <Input
              {...ids}
              required
              maxLength={100}
              value={name}
              onChange={(event) => setName(event.target.value)}
            />
          )}
        </Field>
        <Field label={t("boards.liesIn")}>
          {(ids) => (
            <Select {...ids} value={parentBoardId} onChange={(event) => setParentBoardId(event.target.value)}>
              <option value="">{t("boards.top")}</option>
              {places.map((branch) => (
                <option key={branch.board.boardId} value={branch.board.boardId}>
                  {indented(branch)}
                </option>
              ))}
            </Select>
          )}
        </Field>
        {writing.error && !nameProblem && <Notice>{text(writing.error)}</Notice>}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>{t("boards.cancel")}</Button>
          <Button type="submit" kind="primary" disabled={writing.isPending}>
            {t("boards.save")}
          </Button>
        </div>
      </form>
      {board && (
        <>
          <Archiving
            board={board}
            onDone={(isArchived) => {
              if (isArchived) onGone(board.boardId);
              onClose();
            }}
          />
          <Deletion
            onDeleted={() => {
              onGone(board.boardId);
              onClose();
            }}
            boardId={board.boardId}
          />
        </>
      )}
    </Dialog>
  );
}

/** Puts a board away, or brings it back: nothing of it is lost. */
function Archiving({ board, onDone }: { board: Board; onDone: (isArchived: boolean) => void }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const changing = useBoardChange();
  const archived = !board.archived;
  return (
    <div className="mt-5 flex flex-wrap items-center justify-between gap-2 border-t border-line pt-4">
      <p className="text-sm text-muted">{t("boards.archiveHint")}</p>
      <Button
        disabled={changing.isPending}
        onClick={() =>
          changing.mutate({ boardId: board.boardId, archived }, { onSuccess: () => onDone(archived) })
        }
      >
        {archived ? t("boards.archive") : t("boards.unarchive")}
      </Button>
      {changing.error && <Notice>{text(changing.error)}</Notice>}
    </div>
  );
}

/** Deletes a board after a second click: what lay on it would have to be gathered again. */
function Deletion({ boardId, onDeleted }: { boardId: string; onDeleted: () => void }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const [isAsking, setIsAsking] = useState(false);
  const deleting = useBoardDeletion();
  return (
    <div className="mt-5 flex flex-wrap items-center justify-between gap-2 border-t border-line pt-4">
      <p className="text-sm text-muted">{t("boards.deleteHint")}</p>
      <Button
        kind="danger"
        disabled={deleting.isPending}
        onClick={() => (isAsking ? deleting.mutate(boardId, { onSuccess: onDeleted }) : setIsAsking(true))}
      >
        {isAsking ? t("boards.deleteSurely") : t("boards.delete")}
      </Button>
      {deleting.error && <Notice>{text(deleting.error)}</Notice>}
    </div>
  );
}
