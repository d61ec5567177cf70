// OpenAI's client for Node, as a program of somebody's would use it. Its address and key come from the environment.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { OpenAI, toFile } = require("openai");

const client = new OpenAI({ maxRetries: 0 });
const small = { prompt: "a red circle", size: "64x64", steps: 6, seed: 7 };
const kind = (image) => Buffer.from(image.b64_json, "base64").subarray(1, 4).toString();

const generated = await client.images.generate({ ...small, model: "gpt-image-1" });
const streamed = [];
for await (const event of await client.images.generate({ ...small, stream: true, partial_images: 1 })) {
  streamed.push(event.type);
}
const source = await toFile(Buffer.from(generated.data[0].b64_json, "base64"), "source.png", { type: "image/png" });
const edited = await client.images.edit({ image: source, prompt: "a blue circle", steps: 6 });
const refused = await client.models.retrieve("nothing").catch((error) => [error.status, error.code]);

console.log(
  JSON.stringify({ generated: kind(generated.data[0]), streamed, edited: kind(edited.data[0]), refused }),
);
