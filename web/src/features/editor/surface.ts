/** The canvas on which a mask is painted: what it shows, and what pointers and keys do to it. Knows nothing of the page around it. */

import { fitted, type Point, panned, pinched, toPicture, type View, zoomed } from "@/components/view";
import { grownSheet, Overlay } from "./canvases";
import { draggedTo, type Frame, grown, isGrown, nearestSide, type Side, withSide } from "./frame";
import { type Brush, whole } from "./mask";
import type { Painter } from "./painter";

export type Tool = "brush" | "eraser" | "frame" | "move";

export interface Settings {
  tool: Tool;
  radiusPx: number;
  hardness: number;
  featherPx: number;
  showsMask: boolean;
  /** The largest side that a grown picture may have. */
  largestPx: number;
}

type Gesture =
  | { kind: "paint" }
  | { kind: "pan" }
  | { kind: "pinch" }
  | { kind: "frame"; side: Side; from: Frame };

const TINT = [255, 46, 136] as const;
const TINT_ALPHA = 0.55;
/** Pixels of a mask's softened edge for each standard deviation of the blur that softens it; the platform's own. */
const WIDTHS_PER_SIGMA = 2.56;
const LIGHTEST_PRESSURE = 0.25;
const PEN_ERASER = 32;
const MIDDLE_BUTTON = 1;
const WHEEL_SPEED = 0.0015;

export class Surface {
  private readonly context: CanvasRenderingContext2D;
  private readonly overlay: Overlay;
  private readonly ending = new AbortController();
  private readonly observer: ResizeObserver;
  private readonly pointers = new Map<number, Point>();
  private view: View | undefined;
  /** The view that shows all of it, which follows the size of the screen until somebody looks closer. */
  private fittedView: View | undefined;
  private gesture: Gesture | undefined;
  /** Where the brush is, in pixels of the picture. */
  private at: Point | undefined;
  private isSpaceHeld = false;
  private frameRequest = 0;
  private grownPicture: { frame: Frame; sheet: HTMLCanvasElement } | undefined;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly picture: ImageBitmap,
    private readonly painter: Painter,
    private settings: Settings,
  ) {
    const context = canvas.getContext("2d");
    if (!context) throw new Error("this browser has no memory left for a canvas");
    this.context = context;
    this.overlay = new Overlay(painter.mask, TINT);
    this.overlay.refresh(whole(painter.mask));
    const { signal } = this.ending;
    canvas.addEventListener("pointerdown", (event) => this.press(event), { signal });
    canvas.addEventListener("pointermove", (event) => this.drag(event), { signal });
    canvas.addEventListener("pointerup", (event) => this.release(event), { signal });
    canvas.addEventListener("pointercancel", (event) => this.release(event), { signal });
    canvas.addEventListener("pointerleave", () => this.leave(), { signal });
    canvas.addEventListener("wheel", (event) => this.turn(event), { signal, passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event), { signal });
    canvas.addEventListener("keyup", (event) => this.hold(event, false), { signal });
    canvas.addEventListener("blur", () => this.leave(), { signal });
    signal.addEventListener(
      "abort",
      painter.subscribe(() => this.redraw()),
    );
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(canvas);
  }

  dispose(): void {
    this.ending.abort();
    this.observer.disconnect();
    cancelAnimationFrame(this.frameRequest);
  }

  change(settings: Settings): void {
    this.settings = settings;
    this.redraw();
  }

  /** Shows all of the picture and its frame. */
  fit(): void {
    const { frame } = this.painter.snapshot();
    const screen = { widthPx: this.canvas.clientWidth, heightPx: this.canvas.clientHeight };
    const view = fitted(grown(this.painter.mask, frame), screen);
    this.fittedView = panned(view, frame.left * view.scale, frame.top * view.scale);
    this.view = this.fittedView;
    this.redraw();
  }

  /** Makes everything larger around the middle of the screen; 0 shows each pixel as one. */
  zoom(factor: number): void {
    if (!this.view) return;
    const middle = { x: this.canvas.clientWidth / 2, y: this.canvas.clientHeight / 2 };
    this.view = zoomed(this.view, factor || 1 / this.view.scale, middle);
    this.redraw();
  }

  private resize(): void {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [this.canvas.clientWidth * ratio, this.canvas.clientHeight * ratio].map(
      Math.round,
    );
    if (!width || !height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    if (this.view === this.fittedView) this.fit();
    this.draw();
  }

  private press(event: PointerEvent): void {
    const point = { x: event.offsetX, y: event.offsetY };
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, point);
    this.at = this.view && toPicture(this.view, point);
    if (this.pointers.size > 1) {
      this.painter.cancel();
      this.gesture = { kind: "pinch" };
    } else if (event.button === MIDDLE_BUTTON || this.settings.tool === "move" || this.isSpaceHeld) {
      event.preventDefault();
      this.gesture = { kind: "pan" };
    } else if (event.button === 0 || event.buttons & PEN_ERASER) {
      this.begin(event);
    }
    this.redraw();
  }

  private begin(event: PointerEvent): void {
    if (!this.at) return;
    const { frame } = this.painter.snapshot();
    if (this.settings.tool === "frame") {
      this.gesture = { kind: "frame", side: nearestSide(this.at, this.painter.mask, frame), from: frame };
    } else {
      this.gesture = { kind: "paint" };
      this.painter.begin(this.at, this.brush(event));
    }
  }

  private drag(event: PointerEvent): void {
    if (!this.view) return;
    const point = { x: event.offsetX, y: event.offsetY };
    const before = this.pointers.get(event.pointerId);
    this.at = toPicture(this.view, point);
    if (before && this.gesture?.kind === "pinch") {
      const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
      const other = others[0]?.[1];
      if (other) this.view = pinched(this.view, [before, other], [point, other]);
    } else if (before && this.gesture?.kind === "pan") {
      this.view = panned(this.view, point.x - before.x, point.y - before.y);
    } else if (this.gesture?.kind === "paint") {
      this.paint(event, this.view);
    } else if (this.gesture?.kind === "frame") {
      this.dragFrame(this.gesture.side, false);
    }
    if (before) this.pointers.set(event.pointerId, point);
    this.redraw();
  }

  /** A fast stroke has more points than the screen has frames. */
  private paint(event: PointerEvent, view: View): void {
    const parts = event.getCoalescedEvents?.() ?? [];
    for (const part of parts.length > 0 ? parts : [event]) {
      this.painter.move(toPicture(view, { x: part.offsetX, y: part.offsetY }), this.brush(part));
    }
  }

  private release(event: PointerEvent): void {
    this.pointers.delete(event.pointerId);
    if (this.pointers.size > 0) return; // the other finger is still there
    const { gesture } = this;
    this.gesture = undefined;
    if (gesture?.kind === "paint") this.painter.end();
    if (gesture?.kind === "frame") this.dragFrame(gesture.side, true, gesture.from);
    if (event.pointerType === "touch") this.at = undefined;
    this.redraw();
  }

  private dragFrame(side: Side, isStep: boolean, from?: Frame): void {
    if (!this.at) return;
    const { mask } = this.painter;
    const { frame } = this.painter.snapshot();
    const growth = draggedTo(side, this.at, mask);
    this.painter.grow(withSide(frame, side, growth, mask, this.settings.largestPx), isStep, from);
  }

  private leave(): void {
    if (this.gesture) return;
    this.at = undefined;
    this.isSpaceHeld = false;
    this.redraw();
  }

  private turn(event: WheelEvent): void {
    event.preventDefault();
    if (!this.view) return;
    const factor = Math.exp(-event.deltaY * WHEEL_SPEED);
    this.view = zoomed(this.view, factor, { x: event.offsetX, y: event.offsetY });
    this.redraw();
  }

  /** Without a pointer: arrows move the brush, with Shift they paint, Enter touches the picture once. */
  private key(event: KeyboardEvent): void {
    const directions: Record<string, [number, number]> = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    };
    const direction = directions[event.key];
    if (event.key === " ") this.hold(event, true);
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "Enter") this.touch(this.here(), this.here());
    else if (direction) this.step(direction, event.shiftKey);
    else return;
    event.preventDefault();
  }

  private hold(event: KeyboardEvent, isHeld: boolean): void {
    if (event.key === " ") this.isSpaceHeld = isHeld;
    this.canvas.style.cursor = this.isSpaceHeld ? "grab" : "";
  }

  private step([x, y]: [number, number], paints: boolean): void {
    const { widthPx, heightPx } = this.painter.mask;
    const from = this.here();
    const length = Math.max(1, this.settings.radiusPx / 2);
    this.at = {
      x: Math.min(widthPx, Math.max(0, from.x + x * length)),
      y: Math.min(heightPx, Math.max(0, from.y + y * length)),
    };
    if (paints) this.touch(from, this.at);
    this.redraw();
  }

  private touch(from: Point, to: Point): void {
    this.at = to;
    if (this.settings.tool !== "brush" && this.settings.tool !== "eraser") return;
    this.painter.begin(from, this.brush());
    this.painter.move(to, this.brush());
    this.painter.end();
  }

  private here(): Point {
    const { widthPx, heightPx } = this.painter.mask;
    return this.at ?? { x: widthPx / 2, y: heightPx / 2 };
  }

  /** A pen draws the wider, the harder it is pressed; its other end erases. */
  private brush(event?: PointerEvent): Brush {
    const { tool, radiusPx, hardness } = this.settings;
    const isPen = event?.pointerType === "pen";
    const pressure = isPen ? LIGHTEST_PRESSURE + (1 - LIGHTEST_PRESSURE) * event.pressure : 1;
    const erases = tool === "eraser" || Boolean(isPen && event.buttons & PEN_ERASER);
    return { radiusPx: radiusPx * pressure, hardness, erases };
  }

  private redraw(): void {
    if (this.frameRequest) return;
    this.frameRequest = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    this.frameRequest = 0;
    const { context, view, canvas } = this;
    if (!view) return;
    const ratio = canvas.width / canvas.clientWidth;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(view.scale * ratio, 0, 0, view.scale * ratio, view.x * ratio, view.y * ratio);
    context.imageSmoothingEnabled = view.scale < 2;
    this.drawPicture();
    const dirty = this.painter.takeDirty();
    if (dirty) this.overlay.refresh(dirty);
    if (this.settings.showsMask) this.drawMask(view.scale * ratio);
    if (this.at && (this.settings.tool === "brush" || this.settings.tool === "eraser"))
      this.drawBrush(this.at);
  }

  private drawPicture(): void {
    const { frame } = this.painter.snapshot();
    if (!isGrown(frame)) {
      this.context.drawImage(this.picture, 0, 0);
      return;
    }
    if (this.grownPicture?.frame !== frame) {
      this.grownPicture = { frame, sheet: grownSheet(this.picture, frame) };
    }
    this.context.drawImage(this.grownPicture.sheet, -frame.left, -frame.top);
  }

  private drawMask(scale: number): void {
    const { context, painter } = this;
    const { widthPx, heightPx } = painter.mask;
    const { frame } = painter.snapshot();
    context.save();
    context.globalAlpha = TINT_ALPHA;
    const sigma = (this.settings.featherPx / WIDTHS_PER_SIGMA) * scale;
    if (sigma > 0) context.filter = `blur(${sigma}px)`;
    context.drawImage(this.overlay.canvas, 0, 0);
    context.filter = "none";
    if (isGrown(frame)) {
      const size = grown(painter.mask, frame);
      context.fillStyle = `rgb(${TINT.join(" ")})`;
      context.beginPath();
      context.rect(-frame.left, -frame.top, size.widthPx, size.heightPx);
      context.rect(0, 0, widthPx, heightPx);
      context.fill("evenodd");
    }
    context.restore();
  }

  private drawBrush({ x, y }: Point): void {
    const { context } = this;
    const pixel = 1 / (this.view?.scale ?? 1);
    for (const [colour, width] of [
      ["black", 3],
      ["white", 1.5],
    ] as const) {
      context.strokeStyle = colour;
      context.lineWidth = width * pixel;
      context.beginPath();
      context.arc(x, y, this.settings.radiusPx, 0, 2 * Math.PI);
      context.stroke();
    }
  }
}
