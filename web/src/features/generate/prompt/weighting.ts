/** Changes the weight of words of a prompt: `(words:1.1)`. Weight 1 is written without brackets. */

export interface Selection {
  text: string;
  start: number;
  end: number;
}

/** What to put in the place of a part of the text, and what to select afterwards. */
export interface Change {
  from: number;
  to: number;
  insert: string;
  start: number;
  end: number;
}

const STEP = 0.1;
/** The weights that the platform takes. */
const LEAST = 0;
const MOST = 2;
const WEIGHTED = /\(([^()]+):(\d+(?:\.\d+)?)\)/g;

/**
 * Makes the selected words heavier (`direction` 1) or lighter (-1); with nothing selected those of the word at the caret.
 * The same words are selected afterwards, so that further steps go on from there. Undefined: there are no words.
 */
export function reweighted(selection: Selection, direction: 1 | -1): Change | undefined {
  const { text } = selection;
  const [start, end] = trimmed(text, selection.start, selection.end);
  const present = weightedAround(text, start, end);
  const [first, last] = present?.words ?? (start === end ? wordAt(text, start) : [start, end]);
  const words = text.slice(first, last);
  if (!words || !isWhole(words)) return undefined;
  const before = present?.weight ?? 1;
  const weight = Math.min(MOST, Math.max(LEAST, Math.round((before + direction * STEP) * 100) / 100));
  const [from, to] = present?.whole ?? [first, last];
  const insert = weight === 1 ? words : `(${words}:${weight})`;
  const begin = from + insert.indexOf(words);
  return { from, to, insert, start: begin, end: begin + words.length };
}

function trimmed(text: string, start: number, end: number): [number, number] {
  let [first, last] = [start, end];
  while (first < last && /\s/.test(text[first] ?? "")) first++;
  while (first < last && /\s/.test(text[last - 1] ?? "")) last--;
  return [first, last];
}

/** The brackets with a weight that the selection means: it holds all of their words, or is a caret anywhere in them. */
function weightedAround(text: string, start: number, end: number) {
  for (const match of text.matchAll(WEIGHTED)) {
    const [whole = "", inner = "", weight] = match;
    const [from, to] = [match.index, match.index + whole.length];
    const words: [number, number] = [from + 1, from + 1 + inner.length];
    const isWithin = from <= start && end <= to;
    const isInWords = start >= words[0] && end <= words[1];
    const isAll = start === words[0] && end === words[1];
    if (isWithin && (start === end || !isInWords || isAll)) {
      return { whole: [from, to] as const, words, weight: Number(weight) };
    }
  }
  return undefined;
}

function wordAt(text: string, caret: number): [number, number] {
  const isLetter = (index: number) => /[\p{L}\p{M}\p{N}_'’-]/u.test(text[index] ?? "");
  let [first, last] = [caret, caret];
  while (first > 0 && isLetter(first - 1)) first--;
  while (last < text.length && isLetter(last)) last++;
  return [first, last];
}

/** Whether each bracket among the words has its other half there. One behind a backslash is text. */
function isWhole(words: string): boolean {
  const open: string[] = [];
  const halves: Record<string, string> = { ")": "(", "]": "[", "}": "{", ">": "<" };
  for (const letter of words.replace(/\\./gs, "")) {
    if ("([{<".includes(letter)) open.push(letter);
    else if (letter in halves && open.pop() !== halves[letter]) return false;
  }
  return open.length === 0 && !/(^|[^\\])(\\\\)*\\$/.test(words);
}
