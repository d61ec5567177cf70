/** The words that a LoRA answers to, in a prompt: put there by a click, and gone with the LoRA. */

/** Whether a prompt has the words, whatever their case; `ink` isn't in `inkwell`. */
export function hasWords(prompt: string, words: string): boolean {
  return placeOf(prompt, words) !== undefined;
}

export function withWords(prompt: string, words: string): string {
  if (hasWords(prompt, words)) return prompt;
  const before = prompt.trimEnd().replace(/,$/, "");
  return before ? `${before}, ${words}` : words;
}

/** Takes the words out where they stand by themselves between commas; within a sentence they belong to it. */
export function withoutWords(prompt: string, words: string): string {
  const parts = prompt.split(",");
  const kept = parts.filter((part) => part.trim().toLowerCase() !== words.toLowerCase());
  return kept.length === parts.length ? prompt : kept.join(",").trim();
}

function placeOf(prompt: string, words: string): number | undefined {
  const [text, wanted] = [prompt.toLowerCase(), words.toLowerCase()];
  const isLetter = (letter: string | undefined) => letter !== undefined && /[\p{L}\p{M}\p{N}_]/u.test(letter);
  for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + 1)) {
    if (!isLetter(text[at - 1]) && !isLetter(text[at + wanted.length])) return at;
  }
  return undefined;
}
