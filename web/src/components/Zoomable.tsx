import { type PointerEvent, type ReactNode, useLayoutEffect, useRef } from "react";
import { type Point, panned, pinched, type View, zoomed } from "./view";

/** As it is fitted into its place. */
export const FITTED: View = { scale: 1, x: 0, y: 0 };
const WHEEL_SPEED = 0.0015;
const LARGEST = 16;
const TWICE = 2;

/** What is in it can be made larger by wheel, two fingers or a double click, and moved then. */
export function Zoomable({
  view,
  onView,
  children,
}: {
  view: View;
  onView: (change: (view: View) => View) => void;
  children: ReactNode;
}) {
  const place = useRef<HTMLDivElement>(null);
  const pointers = useRef(new Map<number, Point>());
  const change = (next: (view: View) => View) => onView((now) => bounded(next(now)));
  const latest = useRef(change);
  latest.current = change;
  // React listens to wheels passively, which can't keep the page from scrolling.
  useLayoutEffect(() => {
    const element = place.current;
    const turn = (event: WheelEvent) => {
      event.preventDefault();
      const factor = Math.exp(-event.deltaY * WHEEL_SPEED);
      const pointer = pointIn(element, event);
      latest.current((now) => zoomed(now, factor, pointer));
    };
    element?.addEventListener("wheel", turn, { passive: false });
    return () => element?.removeEventListener("wheel", turn);
  }, []);

  function drag(event: PointerEvent) {
    const before = pointers.current.get(event.pointerId);
    if (!before) return;
    const after = pointIn(place.current, event);
    const other = [...pointers.current].find(([id]) => id !== event.pointerId)?.[1];
    pointers.current.set(event.pointerId, after);
    if (other) change((now) => pinched(now, [before, other], [after, other]));
    else if (view.scale > 1) change((now) => panned(now, after.x - before.x, after.y - before.y));
  }

  const release = (event: PointerEvent) => pointers.current.delete(event.pointerId);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: keys do the same wherever it is used
    <div
      ref={place}
      className="size-full touch-none overflow-hidden"
      style={{ cursor: view.scale > 1 ? "grab" : "zoom-in" }}
      onPointerDown={(event) => {
        event.currentTarget.setPointerCapture(event.pointerId);
        pointers.current.set(event.pointerId, pointIn(place.current, event));
      }}
      onPointerMove={drag}
      onPointerUp={release}
      onPointerCancel={release}
      onDoubleClick={(event) => {
        const pointer = pointIn(place.current, event);
        change((now) => (now.scale > 1 ? FITTED : zoomed(now, TWICE, pointer)));
      }}
    >
      <div
        className="size-full origin-top-left"
        style={{ transform: `translate(${view.x}px, ${view.y}px) scale(${view.scale})` }}
      >
        {children}
      </div>
    </div>
  );
}

/** Nothing is smaller than it is fitted, where it stands still. */
function bounded(view: View): View {
  return view.scale <= 1 ? FITTED : { ...view, scale: Math.min(view.scale, LARGEST) };
}

function pointIn(element: Element | null, { clientX, clientY }: { clientX: number; clientY: number }): Point {
  const box = element?.getBoundingClientRect();
  return { x: clientX - (box?.x ?? 0), y: clientY - (box?.y ?? 0) };
}
