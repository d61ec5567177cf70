import { expect, test } from "vitest";
import { History } from "./history";

function counting(history: History) {
  const now = { value: 0 };
  const add = (by: number, sizeBytes = 1) => {
    now.value += by;
    history.add({
      undo: () => {
        now.value -= by;
      },
      redo: () => {
        now.value += by;
      },
      sizeBytes,
    });
  };
  return { now, add };
}

test("steps are taken back and done again in their order", () => {
  const history = new History();
  const { now, add } = counting(history);
  add(1);
  add(10);
  history.undo();
  expect(now.value).toBe(1);
  history.undo();
  history.undo();
  expect([now.value, history.canUndo, history.canRedo]).toEqual([0, false, true]);
  history.redo();
  history.redo();
  history.redo();
  expect([now.value, history.canUndo, history.canRedo]).toEqual([11, true, false]);
});

test("a new step ends what could be done again", () => {
  const history = new History();
  const { now, add } = counting(history);
  add(1);
  history.undo();
  add(5);
  history.redo();
  expect([now.value, history.canRedo]).toEqual([5, false]);
});

test("the oldest steps are forgotten where there is no room, never the last one", () => {
  const history = new History(10);
  const { now, add } = counting(history);
  add(1, 6);
  add(2, 6);
  history.undo();
  history.undo();
  expect(now.value).toBe(1);
  add(4, 100);
  expect(history.canUndo).toBe(true);
});
