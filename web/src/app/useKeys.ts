import { useEffectEvent, useLayoutEffect } from "react";
import { isTyping } from "./isTyping";

/** Hears keys wherever the focus is, except where somebody types, from the moment at which the page can be seen. */
export function useKeys(onKey: (event: KeyboardEvent) => void): void {
  const hear = useEffectEvent((event: KeyboardEvent) => {
    if (!isTyping(event.target)) onKey(event);
  });
  useLayoutEffect(() => {
    const press = (event: KeyboardEvent) => hear(event);
    window.addEventListener("keydown", press);
    return () => window.removeEventListener("keydown", press);
  }, []);
}
