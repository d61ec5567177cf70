import { expect, test } from "vitest";
import { reweighted } from "./weighting";

/** A text whose selection stands between `|` and `|`; one of them alone is the caret. */
function marked(marks: string) {
  const start = marks.indexOf("|");
  const text = marks.replaceAll("|", "");
  return { text, start, end: Math.max(start, marks.lastIndexOf("|") - 1) };
}

function steps(marks: string, ...directions: (1 | -1)[]): string | undefined {
  let now = marked(marks);
  for (const direction of directions) {
    const next = reweighted(now, direction);
    if (!next) return undefined;
    const text = now.text.slice(0, next.from) + next.insert + now.text.slice(next.to);
    now = { text, start: next.start, end: next.end };
  }
  const { text, start, end } = now;
  return `${text.slice(0, start)}|${text.slice(start, end)}|${text.slice(end)}`;
}

test("selected words get heavier and lighter, and stay selected", () => {
  expect(steps("a |calm sea| at dawn", 1)).toBe("a (|calm sea|:1.1) at dawn");
  expect(steps("a |calm sea| at dawn", 1, 1, 1)).toBe("a (|calm sea|:1.3) at dawn");
  expect(steps("a |calm sea| at dawn", -1, -1)).toBe("a (|calm sea|:0.8) at dawn");
});

test("back at one they are plain again", () => {
  expect(steps("a |sea|", 1, 1, -1, -1)).toBe("a |sea|");
  expect(steps("a (|sea|:0.9)", 1)).toBe("a |sea|");
  expect(steps("a (|sea|:1.05)", -1)).toBe("a (|sea|:0.95)");
});

test("a caret stands for the word around it, in any script", () => {
  expect(steps("a se|a", 1, 1)).toBe("a (|sea|:1.2)");
  expect(steps("푸른 바|다 위", 1)).toBe("푸른 (|바다|:1.1) 위");
  expect(steps("(se|a:1.2)", 1)).toBe("(|sea|:1.3)");
});

test("brackets with a weight that are selected along are those that change", () => {
  expect(steps("a |(sea:1.2)| here", 1)).toBe("a (|sea|:1.3) here");
});

test("a caret anywhere in weighted words means all of them, a selection of some means these", () => {
  expect(steps("(calm se|a:1.2)", 1)).toBe("(|calm sea|:1.3)");
  expect(steps("(calm sea:1.|2|)", -1)).toBe("(|calm sea|:1.1)");
  expect(steps("(calm |sea|:1.2)", 1)).toBe("(calm (|sea|:1.1):1.2)");
  expect(steps("(|calm| sea:1.2)", -1)).toBe("((|calm|:0.9) sea:1.2)");
});

test("space around the words stays outside of the brackets", () => {
  expect(steps("a| calm sea |at dawn", 1)).toBe("a (|calm sea|:1.1) at dawn");
});

test("weights stay between 0 and 2", () => {
  expect(steps("(|sea|:2)", 1)).toBe("(|sea|:2)");
  expect(steps("(|sea|:0.1)", -1, -1)).toBe("(|sea|:0)");
});

test("where there are no words, or half a pair of brackets, nothing happens", () => {
  expect(steps("a  |  b", 1)).toBeUndefined();
  expect(steps("|a (b| c)", 1)).toBeUndefined();
  expect(steps("|a) b (c|", 1)).toBeUndefined();
  expect(steps("|a\\|)", 1)).toBeUndefined();
  expect(steps("|a \\( b|", 1)).toBe("(|a \\( b|:1.1)");
});
