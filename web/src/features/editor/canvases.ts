/** What needs a canvas: pictures as pixels, masks as files. */

import { type Frame, grown } from "./frame";
import { repaintedBy } from "./importedMask";
import type { Mask, Rect } from "./mask";

/** Four bytes of a pixel as one number: the opacity is the last one, on every machine that browsers run on. */
const OPAQUE = 0xff000000;
const GREY = 0x010101;

/** A picture by its address, upright; its pixels can be read, since it comes as a file. */
export async function pictureAt(url: string, signal: AbortSignal): Promise<ImageBitmap> {
  const answer = await fetch(url, { signal });
  if (!answer.ok) throw new Error(`the picture's address answers ${answer.status}`);
  return createImageBitmap(await answer.blob());
}

/** Reads a mask out of a file, at the size of the picture. */
export async function maskIn(file: Blob, { widthPx, heightPx }: Mask): Promise<Uint8Array> {
  const picture = await createImageBitmap(file);
  const [canvas, context] = sheet(widthPx, heightPx);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return repaintedBy(context.getImageData(0, 0, canvas.width, canvas.height).data);
}

/** The mask as a file, in white on black, without transparency: all of the frame is repainted. */
export function maskFile(mask: Mask, frame: Frame): Promise<Blob> {
  const { widthPx, heightPx } = grown(mask, frame);
  const [canvas, context] = sheet(widthPx, heightPx);
  context.fillStyle = "white";
  context.fillRect(0, 0, widthPx, heightPx);
  const image = new ImageData(mask.widthPx, mask.heightPx);
  const grey = new Uint32Array(image.data.buffer);
  for (let index = 0; index < grey.length; index++) grey[index] = OPAQUE | ((mask.pixels[index] ?? 0) * GREY);
  context.putImageData(image, frame.left, frame.top);
  return fileOf(canvas);
}

/** The grown picture as a file. Beyond its edges it goes on as it is there, which is a better beginning than a plain colour. */
export function grownFile(picture: ImageBitmap, frame: Frame): Promise<Blob> {
  return fileOf(grownSheet(picture, frame));
}

export function grownSheet(picture: ImageBitmap, frame: Frame): HTMLCanvasElement {
  const { width, height } = picture;
  const { left, top, right, bottom } = frame;
  const [canvas, context] = sheet(width + left + right, height + top + bottom);
  context.imageSmoothingEnabled = false;
  // Each of the nine parts: the picture, its edges and its corners, drawn out.
  const columns = [
    [0, 1, 0, left],
    [0, width, left, width],
    [width - 1, 1, left + width, right],
  ] as const;
  const rows = [
    [0, 1, 0, top],
    [0, height, top, height],
    [height - 1, 1, top + height, bottom],
  ] as const;
  for (const [x, across, toX, wide] of columns) {
    for (const [y, down, toY, high] of rows) {
      if (wide > 0 && high > 0) context.drawImage(picture, x, y, across, down, toX, toY, wide, high);
    }
  }
  return canvas;
}

/** A mask as it is laid over the picture: a colour, the denser the more is repainted. */
export class Overlay {
  readonly canvas: HTMLCanvasElement;
  private readonly context: CanvasRenderingContext2D;

  constructor(
    private readonly mask: Mask,
    private readonly colour: readonly [number, number, number],
  ) {
    [this.canvas, this.context] = sheet(mask.widthPx, mask.heightPx);
  }

  /** Draws a part of it anew. */
  refresh({ left, top, right, bottom }: Rect): void {
    const image = new ImageData(right - left, bottom - top);
    const [red, green, blue] = this.colour;
    let at = 0;
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++, at += 4) {
        image.data[at] = red;
        image.data[at + 1] = green;
        image.data[at + 2] = blue;
        image.data[at + 3] = this.mask.pixels[y * this.mask.widthPx + x] ?? 0;
      }
    }
    this.context.putImageData(image, left, top);
  }
}

function sheet(widthPx: number, heightPx: number): [HTMLCanvasElement, CanvasRenderingContext2D] {
  const canvas = document.createElement("canvas");
  canvas.width = widthPx;
  canvas.height = heightPx;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("this browser has no memory left for a canvas");
  return [canvas, context];
}

function fileOf(canvas: HTMLCanvasElement): Promise<Blob> {
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error("the canvas gives no file"))),
      "image/png",
    );
  });
}
