import { lazy, Suspense, useState } from "react";
import { type Overlay, useOverlayKeys } from "./shortcuts";

const Shortcuts = lazy(async () => ({ default: (await import("./ShortcutList")).ShortcutList }));
const Palette = lazy(async () => ({ default: (await import("./Palette")).Palette }));

/** What keys open in front of every page; loaded when it is opened first. */
export function Overlays() {
  const [overlay, open] = useState<Overlay>();
  useOverlayKeys(open);
  // A dialog tells late that it was closed; another one may be open by then.
  const close = (closed: Overlay) => () => open((now) => (now === closed ? undefined : now));
  return (
    <Suspense>
      {overlay === "shortcuts" && <Shortcuts onClose={close("shortcuts")} />}
      {overlay === "palette" && <Palette onClose={close("palette")} onShortcuts={() => open("shortcuts")} />}
    </Suspense>
  );
}
