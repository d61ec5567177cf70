/** The keys of the whole page, of which the list of shortcuts tells. */

import { useLayoutEffect } from "react";
import { isTyping } from "./isTyping";

export type Overlay = "shortcuts" | "palette";

/** Opens the list of shortcuts with `?` and the palette with Ctrl+K. */
export function useOverlayKeys(open: (overlay: Overlay) => void): void {
  useLayoutEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.isComposing || event.altKey) return;
      // What is open already has the keys for itself.
      if (document.querySelector("dialog[open]")) return;
      if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.code === "KeyK") {
        event.preventDefault();
        open("palette");
      } else if (event.key === "?" && !event.ctrlKey && !event.metaKey && !isTyping(event.target)) {
        event.preventDefault();
        open("shortcuts");
      }
    };
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, [open]);
}
