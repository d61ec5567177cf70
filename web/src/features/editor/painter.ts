/** A mask that somebody paints, with what they did to it. Knows no page: whoever shows it subscribes. */

import type { Point } from "@/components/view";
import { type Frame, isGrown, NO_FRAME } from "./frame";
import { History } from "./history";
import {
  type Brush,
  coverage,
  cut,
  emptyMask,
  fill,
  invert,
  type Mask,
  paste,
  type Rect,
  stroke,
  union,
  whole,
} from "./mask";

/** What changes with each step. */
export interface Painted {
  frame: Frame;
  canUndo: boolean;
  canRedo: boolean;
  /** The share of the picture that is repainted, 0 to 1. */
  coverage: number;
}

interface Stroke {
  before: Uint8Array;
  last: Point;
  changed: Rect | undefined;
}

export class Painter {
  readonly mask: Mask;
  private readonly history = new History();
  private readonly listeners = new Set<() => void>();
  private painted: Painted = { frame: NO_FRAME, canUndo: false, canRedo: false, coverage: 0 };
  private current: Stroke | undefined;
  private dirty: Rect | undefined;

  constructor(widthPx: number, heightPx: number) {
    this.mask = emptyMask(widthPx, heightPx);
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  readonly snapshot = (): Painted => this.painted;

  /** Whether there is anything to repaint. */
  get isEmpty(): boolean {
    return this.painted.coverage === 0 && !isGrown(this.painted.frame);
  }

  /** What has changed since this was asked last; the rest of what is shown is as it was. */
  takeDirty(): Rect | undefined {
    const { dirty } = this;
    this.dirty = undefined;
    return dirty;
  }

  /** Begins a stroke with one touch of the brush. */
  begin(point: Point, brush: Brush): void {
    this.current = { before: this.mask.pixels.slice(), last: point, changed: undefined };
    this.move(point, brush);
  }

  move(point: Point, brush: Brush): void {
    if (!this.current) return;
    const changed = stroke(this.mask, this.current.last, point, brush);
    this.current.changed = union(this.current.changed, changed);
    this.current.last = point;
    this.soil(changed);
  }

  /** Ends the stroke: from here on it is one step. */
  end(): void {
    const ended = this.current;
    this.current = undefined;
    if (ended?.changed) this.remember(ended.changed, ended.before);
  }

  /** Takes the stroke back that has begun: it was a gesture of two fingers. */
  cancel(): void {
    const begun = this.current;
    this.current = undefined;
    if (!begun?.changed) return;
    this.mask.pixels.set(begun.before);
    this.soil(begun.changed);
  }

  fill(): void {
    this.changeAll(() => fill(this.mask, 255));
  }

  clear(): void {
    this.changeAll(() => fill(this.mask, 0));
  }

  invert(): void {
    this.changeAll(() => invert(this.mask));
  }

  /** Puts another mask of the same size in its place. */
  replace(pixels: Uint8Array): void {
    this.changeAll(() => this.mask.pixels.set(pixels));
  }

  /** Lets the picture grow. While an edge is dragged, `isStep` is false until it is let go. */
  grow(frame: Frame, isStep = true, from: Frame = this.painted.frame): void {
    if (isStep && frame !== from) {
      this.history.add({
        undo: () => this.grow(from, false),
        redo: () => this.grow(frame, false),
        sizeBytes: 64,
      });
    }
    this.tell({ frame });
  }

  undo(): void {
    this.history.undo();
    this.tell({});
  }

  redo(): void {
    this.history.redo();
    this.tell({});
  }

  private changeAll(change: () => void): void {
    const before = this.mask.pixels.slice();
    change();
    this.soil(whole(this.mask));
    this.remember(whole(this.mask), before);
  }

  /** Remembers what a part of the mask was before, and is now. */
  private remember(rect: Rect, pixelsBefore: Uint8Array): void {
    const before = cut({ ...this.mask, pixels: pixelsBefore }, rect);
    const after = cut(this.mask, rect);
    const put = (part: Uint8Array) => () => {
      paste(this.mask, rect, part);
      this.soil(rect);
    };
    this.history.add({ undo: put(before), redo: put(after), sizeBytes: 2 * before.length });
    this.tell({});
  }

  private soil(rect: Rect | undefined): void {
    this.dirty = union(this.dirty, rect);
    if (rect) for (const listener of this.listeners) listener();
  }

  private tell(changes: Partial<Painted>): void {
    const { canUndo, canRedo } = this.history;
    this.painted = { ...this.painted, canUndo, canRedo, coverage: coverage(this.mask), ...changes };
    for (const listener of this.listeners) listener();
  }
}
