/**
 * A client of Pingvas Studio for browsers and Node.
 *
 *     const client = new Client("https://studio.example", { apiKey: "pgv_live_..." });
 *     const [picture] = await client.generate("a lighthouse at dawn", { onProgress: console.log });
 */

export {
  Client,
  type ClientOptions,
  type GenerateOptions,
  type Operation,
  Picture,
  type Source,
  type WaitOptions,
} from "./client.js";
export { JobEndedError, PingvasError, type Violation } from "./errors.js";
export type { Progress, Stage } from "./progress.js";
