import { type QueryClient, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { boards } from "@/api/boards";
import type { Board } from "@/gen/pingvas/gallery/v1/board_pb";
import { refetchLists } from "./images";
import { inBatches } from "./inBatches";
import { inOrder } from "./inOrder";

const PAGE = 200;
const FRESH_MS = 120_000;
const BOARDS = "boards";
/** How pictures travel from the grid to a board while they are dragged. */
const DRAGGED = "application/x-pingvas-images";

/** A board with how deep it lies. */
export interface Branch {
  board: Board;
  depth: number;
}

/** What a person says of a board. */
export interface BoardWish {
  name: string;
  parentBoardId: string;
}

/** All boards, archived ones only when they are asked for, each below the one that it lies in. */
export function useBoards({ withArchived }: { withArchived: boolean }) {
  return useQuery({
    queryKey: [BOARDS],
    queryFn: async () => {
      const found: Board[] = [];
      let pageToken = "";
      do {
        const page = await boards.listBoards({ pageSize: PAGE, pageToken, withArchived: true });
        found.push(...page.boards);
        pageToken = page.nextPageToken;
      } while (pageToken);
      return found;
    },
    select: (found) => ({
      tree: branches(found.filter(({ archived }) => withArchived || !archived)),
      hasArchived: found.some(({ archived }) => archived),
    }),
    staleTime: FRESH_MS,
  });
}

/** Lets the boards be fetched anew, whose counts and covers follow the pictures. */
export function refetchBoards(queries: QueryClient): Promise<void> {
  return queries.invalidateQueries({ queryKey: [BOARDS] });
}

/** Creates a board, or changes one. */
export function useBoardWriting(boardId?: string) {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ requestId, ...wish }: BoardWish & { requestId: string }) =>
      boardId ? boards.updateBoard({ boardId, ...wish }) : boards.createBoard({ requestId, ...wish }),
    onSuccess: () => refetchBoards(queries),
  });
}

/** Archives a board, brings it back, or chooses its cover. */
export function useBoardChange() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (change: { boardId: string; archived?: boolean; coverImageId?: string }) =>
      boards.updateBoard(change),
    onSuccess: () => refetchBoards(queries),
  });
}

/** Deletes a board; its pictures stay. */
export function useBoardDeletion() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (boardId: string) => boards.deleteBoard({ boardId }),
    onSuccess: () => Promise.all([refetchBoards(queries), refetchLists(queries)]),
  });
}

/** Puts pictures on boards and takes them off. */
export function useSorting() {
  const queries = useQueryClient();
  const moving = useMutation({
    mutationFn: ({ ids, ...places }: { ids: string[]; toBoardId?: string; fromBoardId?: string }) =>
      inOrder(() => inBatches(ids, (imageIds) => boards.batchMoveImages({ imageIds, ...places }))),
    onSettled: () => Promise.all([refetchBoards(queries), refetchLists(queries)]),
  });
  return {
    add: (ids: string[], toBoardId: string) => moving.mutate({ ids, toBoardId }),
    takeOff: (ids: string[], fromBoardId: string) => moving.mutate({ ids, fromBoardId }),
    error: moving.error,
  };
}

/** Returns boards by name, each below the one that it lies in; without that one it is at the top. */
export function branches(found: Board[]): Branch[] {
  const top: Board[] = [];
  const inside = new Map<string, Board[]>(found.map(({ boardId }) => [boardId, []]));
  for (const board of found.toSorted((one, other) => one.name.localeCompare(other.name))) {
    (inside.get(board.parentBoardId) ?? top).push(board);
  }
  const flat = (boards: Board[], depth: number): Branch[] =>
    boards.flatMap((board) => [{ board, depth }, ...flat(inside.get(board.boardId) ?? [], depth + 1)]);
  return flat(top, 0);
}

/** Returns the boards that a board can lie in: neither itself nor those inside it. */
export function placesFor(boardId: string | undefined, tree: Branch[]): Branch[] {
  const at = tree.findIndex(({ board }) => board.boardId === boardId);
  const own = tree[at];
  if (!own) return tree;
  const end = tree.findIndex(({ depth }, index) => index > at && depth <= own.depth);
  return [...tree.slice(0, at), ...(end < 0 ? [] : tree.slice(end))];
}

/** Tells in a select how deep a board lies. */
export function indented({ board, depth }: Branch): string {
  return "\u2003".repeat(depth) + board.name;
}

export function dragImages(data: DataTransfer, imageIds: string[]): void {
  data.setData(DRAGGED, JSON.stringify(imageIds));
  data.effectAllowed = "copy";
}

export function dragsImages(data: DataTransfer): boolean {
  return data.types.includes(DRAGGED);
}

export function draggedImages(data: DataTransfer): string[] {
  return JSON.parse(data.getData(DRAGGED) || "[]");
}
