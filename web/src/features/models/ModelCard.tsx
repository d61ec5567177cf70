import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { WandSparkles } from "lucide-react";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { gallery } from "@/api/clients";
import { Button } from "@/components/ui";
import { addLora, changeDraft } from "@/features/generate/draft";
import type { Model } from "@/gen/pingvas/models/v1/model_pb";
import { isLora, operationsOf } from "./filter";

const EXAMPLES = 4;
const MEBIBYTE = 2 ** 20;

/** A model with everything that is known of it, and the pictures that the person has made with it. */
export function ModelCard({ model }: { model: Model }) {
  const { t, i18n } = useTranslation();
  const navigate = useNavigate();
  const size = (Number(model.sizeBytes) / MEBIBYTE).toLocaleString(i18n.language, {
    maximumFractionDigits: 1,
  });
  const facts: [string, ReactNode][] = [
    [t("models.family"), model.family],
    // Nobody says anything about the licence of somebody's own file.
    [t("models.licence"), model.isOwn ? "" : model.licence],
    ...(isLora(model)
      ? ([[t("models.words"), model.triggerWords.join(", ")]] as [string, ReactNode][])
      : ([
          [t("gallery.size"), `${model.nativeWidthPx} × ${model.nativeHeightPx}`],
          [t("generate.steps"), model.defaultStepCount],
          [t("generate.scheduler"), model.schedulers.join(", ")],
        ] as [string, ReactNode][])),
    [t("models.revision"), `${model.revision} · ${size} MiB`],
  ];

  function use() {
    if (isLora(model)) addLora(model.modelId);
    else changeDraft({ modelId: model.modelId, scheduler: "" });
    void navigate({ to: "/" });
  }

  return (
    <li className="flex flex-col gap-3 rounded-xl border border-line bg-surface p-4">
      <div>
        <h3 className="font-semibold">{model.displayName}</h3>
        <p className="text-xs text-muted">{model.modelId}</p>
      </div>
      {!isLora(model) && <Examples modelId={model.modelId} />}
      <ul className="flex flex-wrap gap-1">
        {(isLora(model)
          ? [t("generate.loras")]
          : operationsOf(model).map((name) => t(`operation.${name}`))
        ).map((label) => (
          <li key={label} className="rounded-full bg-raised px-2.5 py-0.5 text-xs">
            {label}
          </li>
        ))}
      </ul>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
        {facts.map(
          ([name, value]) =>
            value !== "" && (
              <div key={name} className="contents">
                <dt className="text-muted">{name}</dt>
                <dd className="break-words tabular-nums">{value}</dd>
              </div>
            ),
        )}
      </dl>
      <Button kind="primary" onClick={use} className="mt-auto">
        <WandSparkles className="size-4" aria-hidden />
        {t("models.use", { model: model.displayName })}
      </Button>
    </li>
  );
}

/** One's own newest pictures with a model say more than anybody else's. */
function Examples({ modelId }: { modelId: string }) {
  const { t } = useTranslation();
  const { data: images = [] } = useQuery({
    queryKey: ["examples", modelId],
    queryFn: async () => (await gallery.listImages({ pageSize: EXAMPLES, modelId })).images,
  });
  if (images.length === 0) return <p className="text-sm text-muted">{t("models.noExamples")}</p>;
  return (
    <ul aria-label={t("models.examples")} className="grid grid-cols-4 gap-1">
      {images.map(({ imageId, thumbnailUrl, prompt }) => (
        <li key={imageId}>
          <Link to="/gallery" search={{ image: imageId }}>
            <img src={thumbnailUrl} alt={prompt} className="aspect-square w-full rounded-md object-cover" />
          </Link>
        </li>
      ))}
    </ul>
  );
}
