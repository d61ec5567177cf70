/** Sending the file of a LoRA in parts: the first is checked before the others follow, and what breaks off goes on. */

import { loras } from "@/api/loras";
import type { LoraPart } from "@/gen/pingvas/models/v1/lora_service_pb";

const TRIES = 4;

export interface Sending {
  file: File;
  modelId: string;
  signal: AbortSignal;
  /** Hears what share of the file is there. */
  onShare: (share: number) => void;
}

/** Sends what is missing of a file and has it put together; what can't be applied is refused by its first part. */
export async function sendLora(sending: Sending): Promise<void> {
  const { modelId, file } = sending;
  await sendParts(sending, 1);
  await loras.checkLora({ modelId });
  await sendParts(sending, file.size);
  await loras.completeLora({ modelId });
}

/** Sends the missing parts that begin below an offset. */
async function sendParts({ file, modelId, signal, onShare }: Sending, below: number): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    const { parts, contentType } = await loras.getLoraUpload({ modelId }, { signal });
    const wanted = parts.filter(({ offsetBytes }) => offsetBytes < below);
    try {
      let missing = sum(parts);
      onShare(1 - missing / file.size);
      for (const part of wanted) {
        await put(file, part, contentType, signal);
        missing -= Number(part.sizeBytes);
        onShare(1 - missing / file.size);
      }
      return;
    } catch (error) {
      if (tries >= TRIES || signal.aborted) throw error;
    }
  }
}

async function put(file: File, part: LoraPart, contentType: string, signal: AbortSignal): Promise<void> {
  const start = Number(part.offsetBytes);
  const body = file.slice(start, start + Number(part.sizeBytes));
  const answer = await fetch(part.putUrl, {
    method: "PUT",
    body,
    headers: { "content-type": contentType },
    signal,
  });
  if (!answer.ok) throw new Error(`the part at ${start} was answered ${answer.status}`);
}

function sum(parts: readonly LoraPart[]): number {
  return parts.reduce((total, { sizeBytes }) => total + Number(sizeBytes), 0);
}
