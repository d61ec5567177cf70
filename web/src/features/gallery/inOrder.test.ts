import { expect, test } from "vitest";
import { behindChanges, inOrder } from "./inOrder";

test("a change waits for the one before it, and a reader for both", async () => {
  const told: string[] = [];
  let answer = () => {};
  const answered = new Promise<void>((resolve) => {
    answer = resolve;
  });
  const first = inOrder(async () => {
    await answered;
    told.push("deleted");
  });
  const second = inOrder(async () => told.push("restored"));
  const reading = behindChanges(async () => told.push("read"));
  answer();
  await Promise.all([first, second, reading]);
  expect(told).toEqual(["deleted", "restored", "read"]);
});

test("what was read while something changed is read again", async () => {
  let stars = 0;
  const answers: Promise<unknown>[] = [];
  const found = await behindChanges(async () => {
    const before = stars;
    if (answers.length === 0) answers.push(inOrder(async () => stars++));
    return before;
  });
  expect(found).toBe(1);
});

test("a change that fails doesn't stop those behind it", async () => {
  await expect(inOrder(() => Promise.reject(new Error("refused")))).rejects.toThrow("refused");
  await expect(inOrder(async () => "done")).resolves.toBe("done");
});
