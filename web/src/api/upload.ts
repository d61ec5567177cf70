/** Uploads, which jobs begin from: an address is asked for, and the bytes are put there. */

import { gallery } from "./clients";

/** Returns the upload's id. */
export async function upload(file: Blob): Promise<string> {
  const { uploadId, putUrl } = await gallery.createUpload({
    contentType: file.type,
    sizeBytes: BigInt(file.size),
    requestId: crypto.randomUUID(),
  });
  const answer = await fetch(putUrl, { method: "PUT", body: file, headers: { "content-type": file.type } });
  if (!answer.ok) throw new Error(`the upload was answered ${answer.status}`);
  return uploadId;
}
