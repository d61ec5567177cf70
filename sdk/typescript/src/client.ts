/** The client: pictures from prompts, and every other call of the contracts. */

import type { DescService, MessageInitShape } from "@bufbuild/protobuf";
import {
  type CallOptions,
  Code,
  ConnectError,
  createClient,
  type Interceptor,
  type Client as ServiceClient,
  type Transport,
} from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { JobEndedError, meaning, PingvasError } from "./errors.js";
import { GalleryService, type ListImagesRequestSchema } from "./gen/pingvas/gallery/v1/gallery_service_pb.js";
import type { Image } from "./gen/pingvas/gallery/v1/image_pb.js";
import {
  type CreateJobRequestSchema,
  GenerationService,
  type JobQuote,
} from "./gen/pingvas/generation/v1/generation_service_pb.js";
import type { JobEvent } from "./gen/pingvas/generation/v1/job_event_pb.js";
import {
  type ImageSourceSchema,
  type Job,
  type JobImage,
  JobState,
} from "./gen/pingvas/generation/v1/job_pb.js";
import type { Model } from "./gen/pingvas/models/v1/model_pb.js";
import { ModelService } from "./gen/pingvas/models/v1/model_service_pb.js";
import { type Balance, CreditService } from "./gen/pingvas/payment/v1/credit_service_pb.js";
import { type Progress, progressOf } from "./progress.js";

const PAUSES_SECONDS = [0.2, 0.5, 1, 2];
/** A refusal that asks for more patience than this is the caller's to handle. */
const MOST_PATIENCE_SECONDS = 10;
/** How long a stream is opened again and again before it is given up. */
const AWAY_SECONDS = 60;
/** The platform sends a heartbeat when nothing else was sent for 15 s, so a stream that is silent for longer is dead. */
const SILENCE_SECONDS = 45;
const PAGE_SIZE = 200;
const TERMINAL = new Set<string | undefined>(["completed", "failed", "cancelled"]);

export interface ClientOptions {
  /** An API key, or a function that returns the token to send, for sessions that are renewed elsewhere. */
  apiKey?: string | (() => string | Promise<string>);
  /** Replaces gRPC-web over `fetch`, for example by gRPC in Node; it is made with the client's interceptors. */
  transport?: (interceptors: Interceptor[]) => Transport;
}

/** What to make: one of the operations of the contract. */
export type Operation = NonNullable<MessageInitShape<typeof CreateJobRequestSchema>["operation"]>;

/** A picture to work on: its bytes, one that was made, or the id of one of the gallery. */
export type Source = Blob | Uint8Array<ArrayBuffer> | Picture | string;

export interface WaitOptions {
  onProgress?: (progress: Progress) => void;
  /** Ends the wait; a job that was made for it is cancelled, and what had run is charged. */
  signal?: AbortSignal;
}

/** What is left out is the model's own. */
export interface GenerateOptions extends WaitOptions {
  negativePrompt?: string;
  model?: string;
  /** In pixels. */
  width?: number;
  height?: number;
  steps?: number;
  guidance?: number;
  /** 0 to 2^53 - 1. */
  seed?: number;
  count?: number;
  scheduler?: string;
  /** Weights by model id. */
  loras?: Record<string, number>;
  source?: Source;
  /** How much of the source may change, 0 to 1. */
  strength?: number;
  /** Where it is repainted: white. */
  mask?: Source;
  /** How soft the mask's edge is, in pixels. */
  maskFeather?: number;
}

/** A picture of the gallery with its bytes: a PNG that carries the recipe. */
export class Picture {
  constructor(
    readonly jobId: string,
    readonly image: JobImage,
    readonly data: Uint8Array<ArrayBuffer>,
  ) {}

  get imageId(): string {
    return this.image.imageId;
  }

  get seed(): number {
    return Number(this.image.seed);
  }

  get width(): number {
    return this.image.widthPx;
  }

  get height(): number {
    return this.image.heightPx;
  }

  /** For an address that a page can show: `URL.createObjectURL(picture.blob)`. */
  get blob(): Blob {
    return new Blob([this.data], { type: "image/png" });
  }
}

/** A client of one deployment, for one caller. What it throws is PingvasError, with what the platform says. */
export class Client {
  private readonly transport: Transport;
  private readonly generation: ServiceClient<typeof GenerationService>;
  private readonly gallery: ServiceClient<typeof GalleryService>;

  /** Takes the deployment's address, `https://HOST`. */
  constructor(address: string, { apiKey, transport }: ClientOptions = {}) {
    const interceptors = [identified, repeated, authenticated(apiKey)];
    const { origin } = new URL(address);
    this.transport = transport?.(interceptors) ?? createGrpcWebTransport({ baseUrl: origin, interceptors });
    this.generation = this.service(GenerationService);
    this.gallery = this.service(GalleryService);
  }

  /** Returns a client of any service of the contracts, which come with this package under `pingvas-sdk/gen`. */
  service<S extends DescService>(service: S): ServiceClient<S> {
    return explained(service, createClient(service, this.transport));
  }

  /** Makes pictures from a prompt, alone or with a picture to begin with. Throws JobEndedError when there are none. */
  async generate(prompt: string, options: GenerateOptions = {}): Promise<Picture[]> {
    const { source, mask, ...plain } = options;
    const given = {
      prompt,
      negativePrompt: plain.negativePrompt,
      modelId: plain.model,
      widthPx: plain.width,
      heightPx: plain.height,
      stepCount: plain.steps,
      guidanceScale: plain.guidance,
      seed: plain.seed === undefined ? undefined : BigInt(plain.seed),
      imageCount: plain.count,
      scheduler: plain.scheduler,
      loras: Object.entries(plain.loras ?? {}).map(([modelId, weight]) => ({ modelId, weight })),
    };
    if (source === undefined) {
      if (mask !== undefined)
        throw new TypeError("a mask needs a source: the picture of which it says what to repaint");
      return this.make({ case: "textToImage", value: given }, options);
    }
    const worked = { ...given, source: await this.source(source), strength: plain.strength };
    if (mask === undefined) return this.make({ case: "imageToImage", value: worked }, options);
    const value = { ...worked, mask: await this.source(mask), maskFeatherPx: plain.maskFeather };
    return this.make({ case: "inpaint", value }, options);
  }

  /** Makes a picture 2 or 4 times as large in both directions. */
  async upscale(
    source: Source,
    scale: 2 | 4 = 2,
    options: WaitOptions & { model?: string } = {},
  ): Promise<Picture> {
    const value = { source: await this.source(source), scaleFactor: scale, modelId: options.model };
    const [picture] = await this.make({ case: "upscale", value }, options);
    return picture as Picture;
  }

  /** Has an operation of the contracts done, waits for it, and returns its pictures. */
  async make(operation: Operation, options: WaitOptions = {}): Promise<Picture[]> {
    const { jobId } = await this.submit(operation);
    try {
      const job = await this.wait(jobId, options);
      return await Promise.all(job.images.map((image) => this.picture(job, image)));
    } catch (error) {
      // Nobody else knows its id; that it has ended meanwhile is no fault.
      if (options.signal?.aborted) await this.cancel(jobId).catch(() => undefined);
      throw error;
    }
  }

  /** Creates a job and returns it as accepted. The same `requestId` with the same operation is the same job. */
  submit(operation: Operation, requestId = ""): Promise<Job> {
    return this.generation.createJob({ operation, requestId });
  }

  /** Returns what an operation would cost and when it would start. */
  quote(operation: Operation): Promise<JobQuote> {
    return this.generation.quoteJob({ operation });
  }

  /** Yields the events of a job up to its terminal one, across cuts of the stream, from the first after `after`. */
  async *watch(jobId: string, { after = "", signal }: { after?: string; signal?: AbortSignal } = {}) {
    let lastHeard = Date.now();
    for (;;) {
      try {
        for await (const event of alive((own) => this.generation.watchJob({ jobId, after }, own), signal)) {
          lastHeard = Date.now();
          after = event.eventId || after;
          if (event.detail.case === "heartbeat") continue;
          yield event;
          if (TERMINAL.has(event.detail.case)) return;
        }
      } catch (error) {
        signal?.throwIfAborted();
        const isAway = Date.now() - lastHeard > AWAY_SECONDS * 1000;
        // A stream that ends without a word of the platform was cut, by whatever code: reading is safe to repeat.
        const isCut = error instanceof PingvasError && (error.reason === "" || error.isRepeatable);
        if (isAway || !isCut) throw error;
      }
      await pause(PAUSES_SECONDS[0] as number, signal);
    }
  }

  /** Waits until a job is completed and returns it. */
  async wait(jobId: string, { onProgress, signal }: WaitOptions = {}): Promise<Job> {
    for await (const event of this.watch(jobId, { signal })) onProgress?.(progressOf(event));
    const job = await this.job(jobId);
    if (job.state !== JobState.COMPLETED) throw new JobEndedError(job);
    return job;
  }

  job(jobId: string): Promise<Job> {
    return this.generation.getJob({ jobId });
  }

  /** Cancels a job: a waiting one at once, a running one within a step. */
  cancel(jobId: string): Promise<Job> {
    return this.generation.cancelJob({ jobId });
  }

  /** Yields the jobs in some states, or all, the newest first. */
  async *jobs(...states: JobState[]): AsyncGenerator<Job> {
    yield* pages(async (page) => {
      const { jobs, nextPageToken } = await this.generation.listJobs({ ...page, states });
      return [jobs, nextPageToken];
    });
  }

  /** Yields the pictures of the gallery, the newest first. */
  async *images(filter: MessageInitShape<typeof ListImagesRequestSchema> = {}): AsyncGenerator<Image> {
    yield* pages(async (page) => {
      const { images, nextPageToken } = await this.gallery.listImages({ ...filter, ...page });
      return [images, nextPageToken];
    });
  }

  /** Yields the models of the deployment. */
  async *models(): AsyncGenerator<Model> {
    const service = this.service(ModelService);
    yield* pages(async (page) => {
      const { models, nextPageToken } = await service.listModels(page);
      return [models, nextPageToken];
    });
  }

  /** Returns the credits of the account. */
  balance(): Promise<Balance> {
    return this.service(CreditService).getBalance({});
  }

  /** Returns what names a picture in an operation; bytes are uploaded. */
  async source(source: Source): Promise<MessageInitShape<typeof ImageSourceSchema>> {
    if (typeof source === "string") return { source: { case: "imageId", value: source } };
    if (source instanceof Picture) return { source: { case: "imageId", value: source.imageId } };
    const data = source instanceof Blob ? new Uint8Array(await source.arrayBuffer()) : source;
    const contentType = contentTypeOf(data);
    if (!contentType) throw new TypeError("this is no PNG, JPEG or WebP picture: convert it to one of them");
    const upload = await this.gallery.createUpload({ contentType, sizeBytes: BigInt(data.length) });
    await transfer(upload.putUrl, { method: "PUT", body: data, headers: { "content-type": contentType } });
    return { source: { case: "uploadId", value: upload.uploadId } };
  }

  /** Returns the bytes of a picture of the gallery, as they were made. */
  async download(imageId: string): Promise<Uint8Array<ArrayBuffer>> {
    const { contentUrl } = await this.gallery.getImage({ imageId });
    return bytesOf(await transfer(contentUrl));
  }

  private async picture(job: Job, image: JobImage): Promise<Picture> {
    // The address is good for minutes only.
    const data = await transfer(image.url).then(bytesOf, () => this.download(image.imageId));
    return new Picture(job.jobId, image, data);
  }
}

/** Returns a service client that throws PingvasError. An interceptor can't: whatever it throws is wrapped. */
function explained<S extends DescService>(service: S, client: ServiceClient<S>): ServiceClient<S> {
  type Method = (...given: unknown[]) => Promise<unknown> & AsyncIterable<unknown>;
  const plain = client as unknown as Record<string, Method>;
  const methods = service.methods.map(({ localName, methodKind }) => {
    const call = plain[localName] as Method;
    const unary: (...given: unknown[]) => unknown = (...given) =>
      call(...given).catch((error: unknown) => {
        throw meaning(error);
      });
    return [
      localName,
      methodKind === "unary" ? unary : (...given: unknown[]) => explainedStream(call(...given)),
    ];
  });
  return Object.fromEntries(methods);
}

async function* explainedStream<T>(messages: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    throw meaning(error);
  }
}

const repeated: Interceptor = (next) => async (request) => {
  if (request.stream) return await next(request);
  for (const planned of PAUSES_SECONDS) {
    try {
      return await next(request);
    } catch (error) {
      const refusal = meaning(error);
      const asked = refusal instanceof PingvasError ? (refusal.retryAfter ?? 0) : 0;
      if (!(refusal instanceof PingvasError && refusal.isRepeatable) || asked > MOST_PATIENCE_SECONDS)
        throw error;
      // Clients that were cut off together must not come back together.
      await pause(Math.max(asked, planned * (0.5 + Math.random() / 2)), request.signal);
    }
  }
  return await next(request);
};

/** Gives a request that has a `requestId` and none in it one, so that a lost answer never makes a second thing. */
const identified: Interceptor = (next) => (request) => {
  if (!request.stream && "requestId" in request.message && !request.message.requestId) {
    (request.message as { requestId: unknown }).requestId = crypto.randomUUID();
  }
  return next(request);
};

function authenticated(apiKey: ClientOptions["apiKey"]): Interceptor {
  return (next) => async (request) => {
    const token = typeof apiKey === "function" ? await apiKey() : apiKey;
    if (token) request.header.set("authorization", `Bearer ${token}`);
    return await next(request);
  };
}

/** Yields what a stream brings; one that is silent for too long is cut. */
async function* alive(
  open: (options: CallOptions) => AsyncIterable<JobEvent>,
  signal: AbortSignal | undefined,
): AsyncGenerator<JobEvent> {
  const silence = new AbortController();
  const cut = () => silence.abort(new ConnectError("the stream is silent", Code.Unavailable));
  let timer = setTimeout(cut, SILENCE_SECONDS * 1000);
  try {
    const own = signal ? AbortSignal.any([silence.signal, signal]) : silence.signal;
    for await (const event of open({ signal: own })) {
      clearTimeout(timer);
      yield event;
      timer = setTimeout(cut, SILENCE_SECONDS * 1000);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function* pages<T>(
  read: (page: { pageSize: number; pageToken: string }) => Promise<[T[], string]>,
): AsyncGenerator<T> {
  let pageToken = "";
  do {
    const [items, next] = await read({ pageSize: PAGE_SIZE, pageToken });
    yield* items;
    pageToken = next;
  } while (pageToken);
}

/** Sends or fetches bytes; what it throws never has the address, whose query is a credential. */
async function transfer(url: string, request: RequestInit = {}): Promise<Response> {
  const answer = await fetch(url, request).catch((error: unknown) => {
    throw new PingvasError(new ConnectError(String(error), Code.Unavailable));
  });
  if (!answer.ok) throw new PingvasError(new ConnectError(`HTTP ${answer.status}`, Code.Unavailable));
  return answer;
}

async function bytesOf(answer: Response): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await answer.arrayBuffer());
}

function contentTypeOf(data: Uint8Array): string | undefined {
  const head = String.fromCharCode(...data.subarray(0, 12));
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (head.startsWith("\xff\xd8\xff")) return "image/jpeg";
  return head.startsWith("RIFF") && head.endsWith("WEBP") ? "image/webp" : undefined;
}

function pause(seconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
