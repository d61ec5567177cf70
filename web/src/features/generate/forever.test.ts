import { expect, test } from "vitest";
import { EMPTY } from "./draft";
import { keepDrawing, type Platform, presentRun, stop } from "./forever";

function platform(costs: (number | undefined)[], most = 1): Platform & { seeds: string[] } {
  const seeds: string[] = [];
  return {
    seeds,
    quote: async () => most,
    draw: async ({ seed }) => {
      seeds.push(seed);
      if (costs.length === 0) throw new Error("refused");
      return costs.shift();
    },
  };
}

test("it ends before a job could exceed the budget, and draws no seed twice", async () => {
  const drawing = platform([0.8, 0.9, 1, 1]);
  await keepDrawing(3, () => ({ ...EMPTY, seed: "7" }), drawing);
  expect(presentRun()).toEqual({ budget: 3, spent: 2.7, jobCount: 3, isOn: false, end: "budget" });
  expect(drawing.seeds).toEqual(["", "", ""]);
});

test("a refusal ends it, and so does a job that somebody cancels", async () => {
  await keepDrawing(9, () => EMPTY, platform([0.5]));
  expect(presentRun()).toMatchObject({ jobCount: 1, isOn: false, end: { error: new Error("refused") } });
  await keepDrawing(9, () => EMPTY, platform([0.5, undefined]));
  expect(presentRun()).toMatchObject({ spent: 0.5, end: "cancelled" });
});

test("once stopped, no other job begins", async () => {
  const drawing = platform([1, 1, 1]);
  const draw = drawing.draw;
  drawing.draw = async (...args) => {
    stop();
    return draw(...args);
  };
  await keepDrawing(9, () => EMPTY, drawing);
  expect(presentRun()).toMatchObject({ jobCount: 0, isOn: false });
  expect(drawing.seeds).toHaveLength(1);
});
