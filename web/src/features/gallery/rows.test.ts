import { expect, test } from "vitest";
import { rowsOf } from "./rows";

const EVENING = new Date(2026, 10, 30, 23, 59);
const MORNING = new Date(2026, 10, 30, 0, 1);
const DAY_BEFORE = new Date(2026, 10, 29, 23, 59);

test("a list fills its rows, the last one as far as it goes", () => {
  expect(rowsOf(5, 2)).toEqual([
    { first: 0, count: 2 },
    { first: 2, count: 2 },
    { first: 4, count: 1 },
  ]);
  expect(rowsOf(0, 2)).toEqual([]);
});

test("each day begins a row below its heading, by the clock of the person", () => {
  const times = [EVENING, MORNING, MORNING, DAY_BEFORE, undefined];
  expect(rowsOf(5, 2, (index) => times[index])).toEqual([
    { day: EVENING },
    { first: 0, count: 2 },
    { first: 2, count: 1 },
    { day: DAY_BEFORE },
    { first: 3, count: 2 },
  ]);
});

test("ten thousand pictures of as many days have a heading each", () => {
  const rows = rowsOf(10_000, 7, (index) => new Date(2026, 10, 30 - index, 12));
  expect(rows).toHaveLength(20_000);
  expect(rows.at(-1)).toEqual({ first: 9999, count: 1 });
});
