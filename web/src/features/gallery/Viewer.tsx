import { create } from "@bufbuild/protobuf";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { ChevronLeft, ChevronRight, Download, ImageUpscale, X } from "lucide-react";
import { type KeyboardEvent, type ReactNode, useEffect, useRef } from "react";
import { useTranslation } from "react-i18next";
import { gallery, generation } from "@/api/clients";
import { useProblemText } from "@/app/useProblem";
import { Button, IconButton, Notice } from "@/components/ui";
import { changeDraft, type Part, recall } from "@/features/generate/draft";
import { JOBS } from "@/features/queue/watch";
import type { Image } from "@/gen/pingvas/gallery/v1/image_pb";
import { CreateJobRequestSchema } from "@/gen/pingvas/generation/v1/generation_service_pb";
import { UpscaleSchema } from "@/gen/pingvas/generation/v1/job_pb";

/** What each key takes over from the picture that is shown. */
const RECALLS: Record<string, Part> = { a: "all", p: "prompt", s: "seed", r: "remix" };

interface Props {
  images: Image[];
  imageId: string;
  onOpen: (imageId: string | undefined) => void;
}

/** One picture, large, with what made it. Arrow keys go on to its neighbours. */
export function Viewer({ images, imageId, onOpen }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const at = images.findIndex((image) => image.imageId === imageId);
  const image = useImage(imageId, images[at]);
  const take = useRecall(image);
  useEffect(() => dialog.current?.showModal(), []);

  const previous = at > 0 ? images[at - 1] : undefined;
  const next = at >= 0 ? images[at + 1] : undefined;
  function press(event: KeyboardEvent) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft" && previous) onOpen(previous.imageId);
    else if (event.key === "ArrowRight" && next) onOpen(next.imageId);
    else if (RECALLS[event.key]) take(RECALLS[event.key] as Part);
  }

  const { t } = useTranslation();
  return (
    <dialog
      ref={dialog}
      aria-label={image?.prompt || t("gallery.title")}
      onClose={() => onOpen(undefined)}
      onKeyDown={press}
      className="m-auto h-[94dvh] w-[96vw] max-w-none overflow-hidden rounded-2xl border border-line bg-surface p-0 backdrop:bg-black/60"
    >
      <div className="flex h-full flex-col lg:flex-row">
        <div className="relative flex min-h-0 flex-1 items-center justify-center bg-canvas p-4">
          {image && <img src={image.contentUrl} alt={image.prompt} className="size-full object-contain" />}
          <Turn label={t("gallery.previous")} to={previous} onOpen={onOpen} className="left-2">
            <ChevronLeft className="size-6" aria-hidden />
          </Turn>
          <Turn label={t("gallery.next")} to={next} onOpen={onOpen} className="right-2">
            <ChevronRight className="size-6" aria-hidden />
          </Turn>
          <IconButton
            label={t("gallery.close")}
            className="absolute! top-2 right-2"
            onClick={() => onOpen(undefined)}
          >
            <X className="size-5" aria-hidden />
          </IconButton>
        </div>
        {image && <Details image={image} take={take} />}
      </div>
    </dialog>
  );
}

function Turn({
  label,
  to,
  onOpen,
  className,
  children,
}: {
  label: string;
  to: Image | undefined;
  onOpen: (imageId: string) => void;
  className: string;
  children: ReactNode;
}) {
  if (!to) return null;
  return (
    <IconButton
      label={label}
      className={`absolute! top-1/2 bg-surface/70! ${className}`}
      onClick={() => onOpen(to.imageId)}
    >
      {children}
    </IconButton>
  );
}

function Details({ image, take }: { image: Image; take: (part: Part) => void }) {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const navigate = useNavigate();
  const upscale = useUpscale();
  const made =
    image.createTime && new Date(Number(image.createTime.seconds) * 1000).toLocaleString(i18n.language);
  const facts: [string, ReactNode][] = [
    [t("gallery.model"), image.modelId],
    [t("gallery.size"), `${image.widthPx} × ${image.heightPx}`],
    [t("gallery.seed"), String(image.seed)],
    [t("gallery.made"), made],
  ];

  function startFromHere() {
    changeDraft({ source: { imageId: image.imageId, url: image.thumbnailUrl }, prompt: image.prompt });
    void navigate({ to: "/" });
  }

  return (
    <div className="flex w-full shrink-0 flex-col gap-4 overflow-y-auto border-line p-5 max-lg:max-h-[45%] max-lg:border-t lg:w-80 lg:border-l">
      <p className="whitespace-pre-wrap">{image.prompt}</p>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
        {facts.map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="text-muted">{name}</dt>
            <dd className="truncate tabular-nums">{value}</dd>
          </div>
        ))}
      </dl>
      <div className="grid grid-cols-2 gap-2">
        <RecallButton part="all" letter="A" label={t("gallery.recallAll")} take={take} />
        <RecallButton part="remix" letter="R" label={t("gallery.recallRemix")} take={take} />
        <RecallButton part="prompt" letter="P" label={t("gallery.recallPrompt")} take={take} />
        <RecallButton part="seed" letter="S" label={t("gallery.recallSeed")} take={take} />
      </div>
      <Button onClick={startFromHere}>{t("gallery.useAsSource")}</Button>
      <Button onClick={() => upscale.mutate(image.imageId)} disabled={upscale.isPending}>
        <ImageUpscale className="size-4" aria-hidden />
        {t("gallery.upscale")}
      </Button>
      <a
        href={image.contentUrl}
        download={`${image.imageId}.png`}
        className="inline-flex h-9 items-center justify-center gap-2 rounded-lg border border-line bg-raised font-medium"
      >
        <Download className="size-4" aria-hidden />
        {t("gallery.download")}
      </a>
      {upscale.isSuccess && <Notice tone="plain">{t("gallery.upscaling")}</Notice>}
      {upscale.error && <Notice>{text(upscale.error)}</Notice>}
    </div>
  );
}

function RecallButton({
  part,
  letter,
  label,
  take,
}: {
  part: Part;
  letter: string;
  label: string;
  take: (part: Part) => void;
}) {
  return (
    <Button
      className="h-auto! justify-start! px-2.5! py-2 text-left text-xs leading-tight"
      onClick={() => take(part)}
    >
      <kbd className="rounded border border-line px-1.5">{letter}</kbd>
      {label}
    </Button>
  );
}

/** A picture that the list has, or one that it hasn't fetched yet: a link may name any. */
function useImage(imageId: string, listed: Image | undefined): Image | undefined {
  const { data } = useQuery({
    queryKey: ["image", imageId],
    queryFn: () => gallery.getImage({ imageId }),
    enabled: !listed,
  });
  return listed ?? data;
}

/** Takes parts of what made a picture into the draft, and goes to it. */
function useRecall(image: Image | undefined): (part: Part) => void {
  const navigate = useNavigate();
  const queries = useQueryClient();
  return async (part) => {
    if (!image) return;
    const job = await queries.fetchQuery({
      queryKey: ["job", image.jobId],
      queryFn: () => generation.getJob({ jobId: image.jobId }),
      staleTime: Number.POSITIVE_INFINITY,
    });
    recall(job, image.seed, part);
    void navigate({ to: "/" });
  };
}

function useUpscale() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (imageId: string) => {
      const value = create(UpscaleSchema, {
        source: { source: { case: "imageId", value: imageId } },
        scaleFactor: 2,
      });
      const operation = { case: "upscale" as const, value };
      return generation.createJob(
        create(CreateJobRequestSchema, { requestId: crypto.randomUUID(), operation }),
      );
    },
    onSuccess: () => queries.invalidateQueries({ queryKey: JOBS }),
  });
}
