/** The prompts that were sent from this browser, the newest first. They go when the person signs out. */

const PREFERENCE = "pingvas.prompts";
const KEPT = 50;

export function rememberPrompt(prompt: string): void {
  const text = prompt.trim();
  if (!text) return;
  const others = sentPrompts().filter((other) => other !== text);
  try {
    localStorage.setItem(PREFERENCE, JSON.stringify([text, ...others].slice(0, KEPT)));
  } catch {
    // The browser keeps nothing, or has no room: then there is no history.
  }
}

export function sentPrompts(): string[] {
  try {
    const kept: unknown = JSON.parse(localStorage.getItem(PREFERENCE) ?? "[]");
    return Array.isArray(kept) ? kept.filter((prompt) => typeof prompt === "string") : [];
  } catch {
    return [];
  }
}

export function forgetPrompts(): void {
  localStorage.removeItem(PREFERENCE);
}

/** A walk through the history: it begins at what is being written, to which it comes back. */
export class Walk {
  private place = -1;
  private shown: string | undefined;
  private written = "";

  constructor(private readonly prompts: () => readonly string[]) {}

  /** Returns the prompt one step older (1) or newer (-1) than `present`; undefined where there is none. */
  step(present: string, direction: 1 | -1): string | undefined {
    if (present !== this.shown) {
      // Somebody has typed since.
      this.place = -1;
      this.written = present;
    }
    const prompts = this.prompts();
    let place = this.place + direction;
    // What stands in the field already would look as if nothing happened.
    if (place === 0 && prompts[0] === this.written.trim() && direction === 1) place++;
    if (place < -1 || place >= prompts.length) return undefined;
    this.place = place;
    this.shown = place < 0 ? this.written : prompts[place];
    return this.shown;
  }
}
