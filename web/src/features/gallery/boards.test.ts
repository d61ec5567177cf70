import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { BoardSchema } from "@/gen/pingvas/gallery/v1/board_pb";
import { branches, indented, placesFor } from "./boards";

const TREE = branches(
  [
    { boardId: "1", name: "zoo" },
    { boardId: "2", name: "Birds", parentBoardId: "1" },
    { boardId: "3", name: "ants", parentBoardId: "1" },
    { boardId: "4", name: "lost", parentBoardId: "archived" },
    { boardId: "5", name: "nests", parentBoardId: "2" },
    { boardId: "6", name: "가방" },
  ].map((board) => create(BoardSchema, board)),
);

test("boards are in the order of their names, each below the one that it lies in", () => {
  expect(TREE.map(indented)).toEqual([
    "lost",
    "zoo",
    "\u2003ants",
    "\u2003Birds",
    "\u2003\u2003nests",
    "가방",
  ]);
});

test("a board can't be put into itself, nor into what lies in it", () => {
  const names = (boardId?: string) => placesFor(boardId, TREE).map(({ board }) => board.name);
  expect(names("1")).toEqual(["lost", "가방"]);
  expect(names("2")).toEqual(["lost", "zoo", "ants", "가방"]);
  expect(names("6")).toEqual(["lost", "zoo", "ants", "Birds", "nests"]);
  expect(names(undefined)).toHaveLength(6);
});
