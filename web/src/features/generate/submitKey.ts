/** The key press that submits. */

interface Press {
  key: string;
  ctrlKey: boolean;
  metaKey: boolean;
  isComposing: boolean;
  keyCode: number;
}

/** Some browsers end a composition first and then report its Enter with this code. */
const COMPOSING = 229;

/** Whether a key press is Ctrl+Enter, and not the Enter that ends the composition of a syllable. */
export function submits({ key, ctrlKey, metaKey, isComposing, keyCode }: Press): boolean {
  return key === "Enter" && (ctrlKey || metaKey) && !isComposing && keyCode !== COMPOSING;
}
