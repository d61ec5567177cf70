/** The key press that submits. */

interface Press {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  isComposing: boolean;
  keyCode: number;
}

/** Some browsers end a composition first and then report its last key with this code. */
const COMPOSING = 229;

/** Whether a key press belongs to the composition of a syllable, and so to the input method alone. */
export function isComposing(press: Pick<Press, "isComposing" | "keyCode">): boolean {
  return press.isComposing || press.keyCode === COMPOSING;
}

/** Whether a key press is Ctrl+Enter, and not the Enter that ends the composition of a syllable. */
export function submits(press: Press): boolean {
  return press.key === "Enter" && (press.ctrlKey || press.metaKey) && !isComposing(press);
}
