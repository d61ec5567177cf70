import { create } from "@bufbuild/protobuf";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import {
  Brush,
  ChevronLeft,
  ChevronRight,
  Circle,
  Download,
  ImageUpscale,
  Star,
  Trash2,
  X,
} from "lucide-react";
import { type ReactNode, useLayoutEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { gallery, generation } from "@/api/clients";
import { useKeys } from "@/app/useKeys";
import { useProblemText } from "@/app/useProblem";
import { Button, IconButton, Notice } from "@/components/ui";
import { type View, zoomed } from "@/components/view";
import { FITTED, Zoomable } from "@/components/Zoomable";
import { UseAsAvatar } from "@/features/account/UseAsAvatar";
import { changeDraft, type Part, recall } from "@/features/generate/draft";
import { JOBS } from "@/features/queue/watch";
import type { Image } from "@/gen/pingvas/gallery/v1/image_pb";
import { CreateJobRequestSchema } from "@/gen/pingvas/generation/v1/generation_service_pb";
import { UpscaleSchema } from "@/gen/pingvas/generation/v1/job_pb";
import { Lineage } from "./Lineage";
import { useRating } from "./organizing";
import { Share } from "./Share";

/** What each key takes over from the picture that is shown. */
const RECALLS: Record<string, Part> = { a: "all", p: "prompt", s: "seed", d: "size", r: "remix" };
const ZOOM_STEP = 1.5;

interface Props {
  images: Image[];
  imageId: string;
  onOpen: (imageId: string | undefined) => void;
  onStar: (image: Image) => void;
  onDelete: (image: Image) => void;
  /** Takes the last deletion back. */
  onUndo: () => void;
}

/** One picture, large, with what made it. Arrow keys go on to its neighbours; others star, rate, delete and recall. */
export function Viewer({ images, imageId, onOpen, onStar, onDelete, onUndo }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const at = images.findIndex((image) => image.imageId === imageId);
  const image = useImage(imageId, images[at]);
  const take = useRecall(image);
  const rating = useRating();
  const edit = useEditing();
  const [closer, setCloser] = useState({ imageId, view: FITTED });
  // Each picture is seen as a whole first.
  const view = closer.imageId === imageId ? closer.view : FITTED;
  const setView = (change: (view: View) => View) => setCloser({ imageId, view: change(view) });
  useLayoutEffect(() => dialog.current?.showModal(), []);

  const previous = at > 0 ? images[at - 1] : undefined;
  const next = at >= 0 ? images[at + 1] : undefined;
  function remove() {
    if (!image || image.deleteTime) return;
    onOpen((next ?? previous)?.imageId);
    onDelete(image);
  }
  function zoom(factor: number) {
    const box = dialog.current?.querySelector("[data-picture]")?.getBoundingClientRect();
    const middle = { x: (box?.width ?? 0) / 2, y: (box?.height ?? 0) / 2 };
    setView((now) => (now.scale * factor <= 1 ? FITTED : zoomed(now, factor, middle)));
  }
  // Wherever the focus is: a button that had it may be gone, such as the one that leads on from the last picture but one.
  useKeys((event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z") onUndo();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "ArrowLeft" && previous) onOpen(previous.imageId);
    else if (event.key === "ArrowRight" && next) onOpen(next.imageId);
    else if (image && event.key === "f") onStar(image);
    else if (image && /^[0-5]$/.test(event.key)) rating.mutate({ imageId, rating: Number(event.key) });
    else if (event.key === "Delete") remove();
    else if (image && event.key === "e") edit(image);
    else if (event.key === "+" || event.key === "=") zoom(ZOOM_STEP);
    else if (event.key === "-") zoom(1 / ZOOM_STEP);
    else if (RECALLS[event.key]) take(RECALLS[event.key] as Part);
  });

  const { t } = useTranslation();
  return (
    <dialog
      ref={dialog}
      aria-label={image?.prompt || t("gallery.title")}
      onClose={() => onOpen(undefined)}
      className="m-auto h-[94dvh] w-[96vw] max-w-none overflow-hidden rounded-2xl border border-line bg-surface p-0 backdrop:bg-black/60"
    >
      <div className="flex h-full flex-col lg:flex-row">
        <div className="relative flex min-h-0 flex-1 items-center justify-center bg-canvas p-4">
          {image && (
            <div data-picture className="size-full">
              <Zoomable view={view} onView={setView}>
                <img
                  key={imageId}
                  src={image.contentUrl}
                  alt={image.prompt}
                  draggable={false}
                  className="size-full object-contain"
                />
              </Zoomable>
            </div>
          )}
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
        {image && (
          <Details
            image={image}
            take={take}
            onOpen={onOpen}
            onStar={() => onStar(image)}
            onRate={(stars) => rating.mutate({ imageId, rating: stars })}
            problem={rating.error}
            onDelete={remove}
            onEdit={() => edit(image)}
          />
        )}
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

function Details({
  image,
  take,
  onOpen,
  onStar,
  onRate,
  onDelete,
  onEdit,
  problem,
}: {
  image: Image;
  take: (part: Part) => void;
  onOpen: (imageId: string) => void;
  onStar: () => void;
  onRate: (rating: number) => void;
  /** Why the last rating wasn't taken. */
  problem: Error | null;
  onDelete: () => void;
  onEdit: () => void;
}) {
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
    <div className="flex w-full shrink-0 flex-col gap-4 overflow-y-auto border-line p-5 *:shrink-0 max-lg:max-h-[45%] max-lg:border-t lg:w-80 lg:border-l">
      {image.title && <h2 className="text-lg font-semibold">{image.title}</h2>}
      <p className="whitespace-pre-wrap">{image.prompt}</p>
      {!image.deleteTime && (
        <div className="flex items-center gap-1">
          <IconButton
            label={image.starred ? t("gallery.unstar") : t("gallery.star")}
            aria-pressed={image.starred}
            onClick={onStar}
          >
            <Star
              className={image.starred ? "size-4.5 fill-amber-300 text-amber-400" : "size-4.5"}
              aria-hidden
            />
          </IconButton>
          <Stars rating={image.rating} onRate={onRate} />
          <span className="flex-1" />
          <IconButton label={t("gallery.delete")} onClick={onDelete}>
            <Trash2 className="size-4.5 text-danger" aria-hidden />
          </IconButton>
        </div>
      )}
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
        {facts.map(([name, value]) => (
          <div key={name} className="contents">
            <dt className="text-muted">{name}</dt>
            <dd className="truncate tabular-nums">{value}</dd>
          </div>
        ))}
      </dl>
      <Lineage imageId={image.imageId} onOpen={onOpen} />
      <div className="grid grid-cols-2 gap-2">
        <RecallButton part="all" letter="A" label={t("gallery.recallAll")} take={take} />
        <RecallButton part="remix" letter="R" label={t("gallery.recallRemix")} take={take} />
        <RecallButton part="prompt" letter="P" label={t("gallery.recallPrompt")} take={take} />
        <RecallButton part="size" letter="D" label={t("gallery.recallSize")} take={take} />
        <RecallButton part="seed" letter="S" label={t("gallery.recallSeed")} take={take} />
      </div>
      <Button onClick={startFromHere}>{t("gallery.useAsSource")}</Button>
      <Button onClick={onEdit}>
        <Brush className="size-4" aria-hidden />
        {t("editor.open")}
        <kbd className="rounded border border-line px-1.5 text-xs">E</kbd>
      </Button>
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
      <UseAsAvatar url={image.thumbnailUrl} key={`avatar-${image.imageId}`} />
      <Share imageId={image.imageId} key={image.imageId} />
      {upscale.isSuccess && <Notice tone="plain">{t("gallery.upscaling")}</Notice>}
      {upscale.error && <Notice>{text(upscale.error)}</Notice>}
      {problem && <Notice>{text(problem)}</Notice>}
    </div>
  );
}

/** A rating of one to five; a second click on it takes it back. */
function Stars({ rating, onRate }: { rating: number; onRate: (rating: number) => void }) {
  const { t } = useTranslation();
  return (
    <fieldset className="flex" aria-label={t("gallery.rating")}>
      {[1, 2, 3, 4, 5].map((stars) => (
        <button
          key={stars}
          type="button"
          aria-label={t("gallery.rate", { count: stars })}
          aria-pressed={rating === stars}
          onClick={() => onRate(rating === stars ? 0 : stars)}
          className="p-0.5"
        >
          <Circle
            className={stars <= rating ? "size-3.5 fill-accent text-accent" : "size-3.5 text-muted"}
            aria-hidden
          />
        </button>
      ))}
    </fieldset>
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

/** Opens the editor, for something like what the picture shows. */
function useEditing(): (image: Image) => void {
  const navigate = useNavigate();
  return ({ imageId, prompt }) => {
    changeDraft({ prompt });
    void navigate({ to: "/edit/$imageId", params: { imageId } });
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
