import clsx from "clsx";
import { X } from "lucide-react";
import { useTranslation } from "react-i18next";
import { Field, IconButton, Select } from "@/components/ui";
import type { Model } from "@/gen/pingvas/models/v1/model_pb";
import { addLora, changeDraft, type Draft, type Lora } from "./draft";
import { lorasOf, modelOf } from "./models";
import { hasWords, withoutWords, withWords } from "./prompt/triggerWords";

/** Weights that the slider reaches; one that came with a recipe may be further out. */
const LEAST = -1;
const MOST = 2;

/** The LoRAs on top of the model, and those of its family that can be added. */
export function Loras({ models, draft }: { models: Model[]; draft: Draft }) {
  const { t } = useTranslation();
  const family = modelOf(models, draft.modelId)?.family;
  const known = lorasOf(models);
  const others = known.filter(
    (model) =>
      (!family || model.family === family) && !draft.loras.some(({ modelId }) => modelId === model.modelId),
  );
  if (draft.loras.length === 0 && others.length === 0) return null;
  return (
    <div className="flex flex-col gap-2">
      {draft.loras.length > 0 && (
        <ul aria-label={t("generate.loras")} className="flex flex-col gap-2">
          {draft.loras.map((lora) => (
            <StackedLora
              key={lora.modelId}
              lora={lora}
              model={known.find(({ modelId }) => modelId === lora.modelId)}
              family={family}
              prompt={draft.prompt}
              onChange={(changed) =>
                changeDraft({ loras: draft.loras.map((each) => (each === lora ? changed : each)) })
              }
              onRemove={() => changeDraft(without(draft, lora, known))}
            />
          ))}
        </ul>
      )}
      {others.length > 0 && (
        <Field label={t("generate.addLora")}>
          {(ids) => (
            <Select {...ids} value="" onChange={(event) => addLora(event.target.value)}>
              <option value="" disabled>
                {t("generate.chooseLora")}
              </option>
              {others.map(({ modelId, displayName, family: own }) => (
                <option key={modelId} value={modelId}>
                  {family ? displayName : `${displayName} (${own})`}
                </option>
              ))}
            </Select>
          )}
        </Field>
      )}
    </div>
  );
}

function StackedLora({
  lora,
  model,
  family,
  prompt,
  onChange,
  onRemove,
}: {
  lora: Lora;
  model: Model | undefined;
  family: string | undefined;
  prompt: string;
  onChange: (changed: Lora) => void;
  onRemove: () => void;
}) {
  const { t } = useTranslation();
  const name = model?.displayName ?? lora.modelId;
  return (
    <li className="flex flex-col gap-1 rounded-lg border border-line bg-raised py-1 pr-1 pl-3 text-sm">
      <div className="flex items-center gap-2">
        <span className="min-w-0 flex-1 truncate" title={lora.modelId}>
          {name}
        </span>
        <span className="tabular-nums">{lora.weight}</span>
        <IconButton label={t("generate.removeLora", { lora: name })} className="h-7! w-7!" onClick={onRemove}>
          <X className="size-3.5" aria-hidden />
        </IconButton>
      </div>
      <input
        type="range"
        aria-label={t("generate.loraWeight", { lora: name })}
        className="mr-2 mb-1"
        min={Math.min(LEAST, lora.weight)}
        max={Math.max(MOST, lora.weight)}
        step={0.05}
        value={lora.weight}
        onChange={(event) => onChange({ ...lora, weight: Number(event.target.value) })}
      />
      {model && model.triggerWords.length > 0 && (
        <ul
          aria-label={t("generate.triggerWords", { lora: name })}
          className="mr-2 mb-1 flex flex-wrap gap-1"
        >
          {model.triggerWords.map((words) => (
            <TriggerWords key={words} words={words} prompt={prompt} />
          ))}
        </ul>
      )}
      {model && family && model.family !== family && (
        <p className="pb-1 text-danger">{t("generate.loraOfOther", { family: model.family })}</p>
      )}
    </li>
  );
}

/** Puts words that the LoRA answers to into the prompt, or takes them out. */
function TriggerWords({ words, prompt }: { words: string; prompt: string }) {
  const isThere = hasWords(prompt, words);
  return (
    <li>
      <button
        type="button"
        aria-pressed={isThere}
        onClick={() =>
          changeDraft({ prompt: isThere ? withoutWords(prompt, words) : withWords(prompt, words) })
        }
        className={clsx(
          "rounded-full border px-2.5 py-0.5 text-xs transition",
          isThere ? "border-accent text-accent" : "border-line text-muted hover:text-ink",
        )}
      >
        {words}
      </button>
    </li>
  );
}

/** The draft without a LoRA, and without its words, unless another one answers to them too. */
function without(draft: Draft, lora: Lora, known: Model[]): Partial<Draft> {
  const loras = draft.loras.filter((each) => each !== lora);
  const wordsOf = ({ modelId }: Lora) => known.find((model) => model.modelId === modelId)?.triggerWords ?? [];
  const others = new Set(loras.flatMap(wordsOf));
  const own = wordsOf(lora).filter((words) => !others.has(words));
  return { loras, prompt: own.reduce(withoutWords, draft.prompt) };
}
