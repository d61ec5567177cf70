import { useMemo } from "react";
import { encode } from "uqr";

/** How wide the light margin is that readers need, in modules. */
const MARGIN = 4;

/** A text as a QR code: black on white in either theme, since not every reader takes the reverse. */
export function QrImage({ text, label }: { text: string; label: string }) {
  const { size, path } = useMemo(() => {
    const code = encode(text, { border: MARGIN });
    const dark = code.data.flatMap((row, y) =>
      row.flatMap((isDark, x) => (isDark ? `M${x} ${y}h1v1h-1z` : [])),
    );
    return { size: code.size, path: dark.join("") };
  }, [text]);
  return (
    <svg
      role="img"
      aria-label={label}
      viewBox={`0 0 ${size} ${size}`}
      shapeRendering="crispEdges"
      className="mx-auto w-44 rounded bg-white text-black"
    >
      <path d={path} fill="currentColor" />
    </svg>
  );
}
