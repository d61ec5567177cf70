import { useMutation, useQueryClient } from "@tanstack/react-query";
import { type FormEvent, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { loras } from "@/api/loras";
import { useProblemText } from "@/app/useProblem";
import { Button, Field, Input, Notice, Select } from "@/components/ui";
import { sendLora } from "./loraUpload";

const LARGEST_BYTES = 2 ** 31;
const MOST_WORDS = 20;

interface Wish {
  file: File;
  displayName: string;
  family: string;
  triggerWords: string[];
}

/** The form that uploads a LoRA, with how far it is. */
export function NewLora({ families }: { families: string[] }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const [share, setShare] = useState<number>();
  const stop = useRef<AbortController>(null);
  const refresh = () => queries.invalidateQueries({ queryKey: ["loras"] });
  const uploading = useMutation({
    mutationFn: async ({ file, ...wish }: Wish) => {
      const stopper = new AbortController();
      stop.current = stopper;
      const { lora } = await loras.createLora({
        ...wish,
        sizeBytes: BigInt(file.size),
        requestId: crypto.randomUUID(),
      });
      await sendLora({ file, modelId: lora?.modelId ?? "", signal: stopper.signal, onShare: setShare });
    },
    onSettled: () => {
      setShare(undefined);
      return refresh();
    },
  });

  function upload(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const values = new FormData(form);
    const file = values.get("file");
    if (!(file instanceof File) || file.size === 0) return;
    const words = String(values.get("words")).split(",");
    const wish: Wish = {
      file,
      displayName: String(values.get("name")).trim() || file.name.replace(/\.safetensors$/i, ""),
      family: String(values.get("family")),
      triggerWords: [...new Set(words.map((word) => word.trim()).filter(Boolean))].slice(0, MOST_WORDS),
    };
    uploading.mutate(wish, { onSuccess: () => form.reset() });
  }

  return (
    <form onSubmit={upload} className="grid items-end gap-3 border-t border-line pt-3 sm:grid-cols-2">
      <Field label={t("ownLoras.file")} hint={t("ownLoras.fileHint")}>
        {(ids) => (
          <Input
            {...ids}
            name="file"
            type="file"
            accept=".safetensors"
            required
            disabled={uploading.isPending}
            onChange={({ currentTarget }) =>
              currentTarget.setCustomValidity(
                (currentTarget.files?.[0]?.size ?? 0) > LARGEST_BYTES ? t("ownLoras.tooLarge") : "",
              )
            }
          />
        )}
      </Field>
      <Field label={t("ownLoras.name")}>
        {(ids) => <Input {...ids} name="name" maxLength={100} disabled={uploading.isPending} />}
      </Field>
      <Field label={t("ownLoras.family")}>
        {(ids) => (
          <Select {...ids} name="family" disabled={uploading.isPending}>
            {families.map((family) => (
              <option key={family}>{family}</option>
            ))}
          </Select>
        )}
      </Field>
      <Field label={t("ownLoras.words")}>
        {(ids) => <Input {...ids} name="words" maxLength={1000} disabled={uploading.isPending} />}
      </Field>
      {uploading.isPending ? (
        <div className="flex items-center gap-3 sm:col-span-2">
          <progress
            aria-label={t("ownLoras.progress")}
            className="grow accent-accent"
            max={1}
            value={share ?? 0}
          />
          <Button onClick={() => stop.current?.abort()}>{t("ownLoras.stop")}</Button>
        </div>
      ) : (
        <Button type="submit" kind="primary" className="justify-self-start">
          {t("ownLoras.upload")}
        </Button>
      )}
      {uploading.error && !stop.current?.signal.aborted && (
        <div className="sm:col-span-2">
          <Notice>{text(uploading.error)}</Notice>
        </div>
      )}
    </form>
  );
}
