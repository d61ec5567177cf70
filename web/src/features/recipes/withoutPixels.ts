/**
 * Cuts the pixels out of a picture's file. The server reads recipes without them: so every picture is small enough to be
 * sent, and the picture itself stays on this machine. The server's own `svc_common/picture_notes.py` does the same.
 */

const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const JPEG = [0xff, 0xd8];
const EXIF_SEGMENT = 0xe1;
const START_OF_SCAN = 0xda;
const END_OF_IMAGE = 0xd9;
const KEPT_IN_WEBP = ["VP8X", "EXIF"];
const PIXELS_IN_PNG = ["IDAT", "fdAT"];

/** Returns a file without its pixels; undefined when it is neither PNG nor JPEG nor WebP. */
export function withoutPixels(file: Uint8Array): Uint8Array | undefined {
  if (begins(file, PNG)) return withoutChunks(file);
  if (begins(file, JPEG)) return exifOfJpeg(file);
  if (name(file, 0) === "RIFF" && name(file, 8) === "WEBP") return notesOfWebp(file);
  return undefined;
}

function withoutChunks(file: Uint8Array): Uint8Array {
  const view = viewOf(file);
  const kept = [file.subarray(0, PNG.length)];
  for (let place = PNG.length; place + 8 <= file.length; ) {
    const end = place + 12 + view.getUint32(place);
    if (!PIXELS_IN_PNG.includes(name(file, place + 4))) kept.push(file.subarray(place, end));
    place = end;
  }
  return joined(kept);
}

function exifOfJpeg(file: Uint8Array): Uint8Array {
  const view = viewOf(file);
  const kept = [file.subarray(0, JPEG.length)];
  for (let place = JPEG.length; place + 4 <= file.length && file[place] === 0xff; ) {
    const marker = file[place + 1] ?? 0;
    if (marker === START_OF_SCAN || marker === END_OF_IMAGE) break;
    if (marker === 0xff) {
      place += 1; // any number of them may stand before a marker
      continue;
    }
    if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
      place += 2; // these have no length
      continue;
    }
    const end = place + 2 + Math.max(2, view.getUint16(place + 2));
    if (marker === EXIF_SEGMENT) kept.push(file.subarray(place, end));
    place = end;
  }
  return joined([...kept, Uint8Array.of(0xff, END_OF_IMAGE)]);
}

function notesOfWebp(file: Uint8Array): Uint8Array {
  const view = viewOf(file);
  const kept: Uint8Array[] = [];
  for (let place = 12; place + 8 <= file.length; ) {
    const length = view.getUint32(place + 4, true);
    const end = place + 8 + length + (length % 2);
    if (KEPT_IN_WEBP.includes(name(file, place))) kept.push(file.subarray(place, end));
    place = end;
  }
  const all = joined([file.subarray(0, 12), ...kept]);
  viewOf(all).setUint32(4, all.length - 8, true);
  return all;
}

function begins(file: Uint8Array, bytes: number[]): boolean {
  return bytes.every((byte, index) => file[index] === byte);
}

function name(file: Uint8Array, place: number): string {
  return String.fromCharCode(...file.subarray(place, place + 4));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function joined(parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    all.set(part, place);
    place += part.length;
  }
  return all;
}
