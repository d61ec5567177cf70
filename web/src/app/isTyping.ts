/** Inputs that take no letters, so that keys mean there what they mean elsewhere. */
const WITHOUT_LETTERS = new Set(["checkbox", "radio", "range", "file"]);

/** Whether keys go into a field, where they mean letters. */
export function isTyping(target: EventTarget | null): boolean {
  if (target instanceof HTMLInputElement) return !WITHOUT_LETTERS.has(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement;
}
