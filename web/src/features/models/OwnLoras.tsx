import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { type ChangeEvent, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { loras } from "@/api/loras";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { type Lora, LoraState } from "@/gen/pingvas/models/v1/lora_pb";
import { sendLora } from "./loraUpload";
import { NewLora } from "./NewLora";

const PAGE = 200;
const LOOK_MS = 1000;
const MEBIBYTE = 2 ** 20;
const STATES = {
  [LoraState.UNSPECIFIED]: "uploading",
  [LoraState.UPLOADING]: "uploading",
  [LoraState.ASSEMBLING]: "assembling",
  [LoraState.READY]: "ready",
  [LoraState.REFUSED]: "refused",
} as const;

/** The LoRAs that somebody has uploaded; nothing where the plan has none and there are none of before. */
export default function OwnLoras({ families }: { families: string[] }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const { data, error } = useQuery({
    queryKey: ["loras"],
    queryFn: allLoras,
    refetchInterval: ({ state }) =>
      state.data?.loras.some((lora) => lora.state === LoraState.ASSEMBLING) ? LOOK_MS : false,
  });
  const readyCount = data?.loras.filter(({ state }) => state === LoraState.READY).length;
  // A LoRA that has become ready, or was deleted, is in the catalogue, or isn't any more.
  const shownCount = useRef(readyCount);
  useEffect(() => {
    if (shownCount.current !== undefined && shownCount.current !== readyCount) {
      void queries.invalidateQueries({ queryKey: ["models"] });
    }
    shownCount.current = readyCount;
  }, [readyCount, queries]);

  if (error) return <Notice>{text(error)}</Notice>;
  if (!data || (data.limit === 0 && data.loras.length === 0)) return null;
  return (
    <section
      aria-label={t("ownLoras.title")}
      className="flex flex-col gap-3 rounded-xl border border-line bg-surface p-4"
    >
      <div className="flex flex-wrap items-baseline justify-between gap-2">
        <h3 className="font-semibold">{t("ownLoras.title")}</h3>
        <p className="text-sm text-muted tabular-nums">
          {t("ownLoras.count", { count: data.count, limit: data.limit })}
        </p>
      </div>
      <p className="text-sm text-muted">{t("ownLoras.hint")}</p>
      <ul className="flex flex-col divide-y divide-line">
        {data.loras.map((lora) => (
          <OwnLora key={lora.modelId} lora={lora} />
        ))}
      </ul>
      {data.count < data.limit && <NewLora families={families} />}
    </section>
  );
}

/** All of them, which are a few pages at most. */
async function allLoras() {
  const found: Lora[] = [];
  let pageToken = "";
  for (;;) {
    const page = await loras.listLoras({ pageSize: PAGE, pageToken });
    found.push(...page.loras);
    pageToken = page.nextPageToken;
    if (!pageToken) return { loras: found, count: page.count, limit: page.limit };
  }
}

function OwnLora({ lora }: { lora: Lora }) {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const { modelId, displayName, state } = lora;
  const deleting = useMutation({
    mutationFn: () => loras.deleteLora({ modelId }),
    onSettled: () => queries.invalidateQueries({ queryKey: ["loras"] }),
  });
  const size = (Number(lora.sizeBytes) / MEBIBYTE).toLocaleString(i18n.language, {
    maximumFractionDigits: 1,
  });
  return (
    <li aria-label={displayName} className="flex flex-wrap items-center gap-x-4 gap-y-2 py-3">
      <div className="min-w-0 grow">
        <p className="break-words font-medium">{displayName}</p>
        <p className="text-sm text-muted">
          {[lora.family, `${size} MiB`, t(`ownLoras.${STATES[state]}`)].join(" · ")}
          {lora.moduleCount > 0 &&
            ` · ${t("ownLoras.modules", { count: lora.moduleCount, rank: lora.rank })}`}
          {lora.unmatchedModuleCount > 0 &&
            ` · ${t("ownLoras.leftOut", { count: lora.unmatchedModuleCount })}`}
        </p>
        {lora.refusal && <Notice>{lora.refusal}</Notice>}
        {deleting.error && <Notice>{text(deleting.error)}</Notice>}
      </div>
      {state === LoraState.UPLOADING && <GoOn lora={lora} />}
      <Button kind="danger" disabled={deleting.isPending} onClick={() => deleting.mutate()}>
        {t("ownLoras.delete", { lora: displayName })}
      </Button>
    </li>
  );
}

/** Takes an upload up that has broken off, with the same file. */
function GoOn({ lora }: { lora: Lora }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const chooser = useRef<HTMLInputElement>(null);
  const [isOther, setIsOther] = useState(false);
  const sending = useMutation({
    mutationFn: (file: File) =>
      sendLora({
        file,
        modelId: lora.modelId,
        signal: new AbortController().signal,
        onShare: () => undefined,
      }),
    onSettled: () => queries.invalidateQueries({ queryKey: ["loras"] }),
  });

  function choose({ currentTarget }: ChangeEvent<HTMLInputElement>) {
    const file = currentTarget.files?.[0];
    currentTarget.value = "";
    if (!file) return;
    setIsOther(BigInt(file.size) !== lora.sizeBytes);
    if (BigInt(file.size) === lora.sizeBytes) sending.mutate(file);
  }

  return (
    <>
      {isOther && <Notice>{t("ownLoras.otherFile")}</Notice>}
      {sending.error && <Notice>{text(sending.error)}</Notice>}
      <input ref={chooser} type="file" accept=".safetensors" className="hidden" onChange={choose} />
      <Button disabled={sending.isPending} onClick={() => chooser.current?.click()}>
        {t("ownLoras.goOn")}
      </Button>
    </>
  );
}
