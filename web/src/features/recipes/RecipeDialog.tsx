import { useTranslation } from "react-i18next";
import { Dialog } from "@/components/Dialog";
import { Button } from "@/components/ui";
import { type Part, recall } from "@/features/generate/draft";
import {
  ModelMatch,
  type Recipe,
  RecipeOrigin,
  type RecipeRemark,
  RemarkKind,
} from "@/gen/pingvas/generation/v1/recipe_pb";

/** Names of programs, which are the same in every language. */
const PROGRAMS: Record<RecipeOrigin, string> = {
  [RecipeOrigin.UNSPECIFIED]: "?",
  [RecipeOrigin.PINGVAS]: "Pingvas Studio",
  [RecipeOrigin.INVOKEAI]: "InvokeAI",
  [RecipeOrigin.A1111]: "AUTOMATIC1111",
  [RecipeOrigin.COMFYUI]: "ComfyUI",
};

/** What made a picture, and what of it to take over into the form. */
export function RecipeDialog({ recipe, url, onClose }: { recipe: Recipe; url: string; onClose: () => void }) {
  const { t } = useTranslation();
  const made = recipe.operation;
  const seed = made.value?.seed;
  const take = (part: Part) => {
    recall(recipe, seed, part);
    onClose();
  };
  return (
    <Dialog label={t("recipes.title")} onClose={onClose}>
      <div className="flex flex-col gap-4">
        <div className="flex gap-4">
          <img src={url} alt="" className="size-28 shrink-0 rounded-lg bg-raised object-contain" />
          <div className="min-w-0 flex-1">
            <p className="line-clamp-4 whitespace-pre-wrap">{made.value?.prompt}</p>
            <p className="mt-2 text-sm text-muted">
              {t("recipes.writtenBy", { program: PROGRAMS[recipe.origin] })}
            </p>
          </div>
        </div>
        <Facts recipe={recipe} />
        <p className="text-sm text-muted">{useVerdict(recipe)}</p>
        <Remarks remarks={recipe.remarks} />
        <div className="grid grid-cols-2 gap-2">
          {made.case !== "upscale" && (
            <>
              <Button kind="primary" onClick={() => take("all")}>
                {t("recipes.useAll")}
              </Button>
              <Button onClick={() => take("remix")}>{t("recipes.useRemix")}</Button>
              <Button onClick={() => take("prompt")}>{t("recipes.usePrompt")}</Button>
              <Button onClick={() => take("seed")} disabled={seed === undefined}>
                {t("recipes.useSeed")}
              </Button>
            </>
          )}
          <Button kind="ghost" className="col-span-2" onClick={onClose}>
            {t("recipes.close")}
          </Button>
        </div>
      </div>
    </Dialog>
  );
}

function Facts({ recipe }: { recipe: Recipe }) {
  const { t } = useTranslation();
  const { case: operation, value } = recipe.operation;
  if (value === undefined) return null;
  const facts: [string, string][] = [[t("recipes.model"), value.modelId || t("recipes.ownModel")]];
  if (operation !== "upscale") {
    const loras = value.loras.map(({ modelId, weight }) => `${modelId} ${weight ?? 1}`);
    facts.push(
      [t("recipes.negative"), value.negativePrompt],
      [t("recipes.size"), value.widthPx ? `${value.widthPx} × ${value.heightPx}` : ""],
      [t("recipes.guidance"), value.guidanceScale === undefined ? "" : String(value.guidanceScale)],
      [t("recipes.scheduler"), value.scheduler],
      [t("recipes.loras"), loras.join(", ")],
    );
  }
  facts.push(
    [t("recipes.steps"), value.stepCount ? String(value.stepCount) : ""],
    [t("recipes.seed"), value.seed === undefined ? "" : String(value.seed)],
  );
  return (
    <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
      {facts
        .filter(([, text]) => text)
        .map(([name, text]) => (
          <div key={name} className="contents">
            <dt className="text-muted">{name}</dt>
            <dd className="truncate tabular-nums" title={text}>
              {text}
            </dd>
          </div>
        ))}
    </dl>
  );
}

/** How near to the picture one can come. */
function useVerdict(recipe: Recipe): string {
  const { t } = useTranslation();
  if (recipe.operation.case === "upscale") return t("recipes.upscale");
  if (recipe.origin !== RecipeOrigin.PINGVAS) return t("recipes.similar");
  const isWhole = recipe.remarks.every(({ kind }) => kind === RemarkKind.NEEDED);
  const isSame = isWhole && recipe.modelMatch === ModelMatch.SAME_FILES;
  return isSame ? t("recipes.sameModel") : t("recipes.differs");
}

function Remarks({ remarks }: { remarks: RecipeRemark[] }) {
  const { t } = useTranslation();
  const kinds: Record<RemarkKind, string> = {
    [RemarkKind.UNSPECIFIED]: "",
    [RemarkKind.LEFT_OUT]: t("recipes.leftOut"),
    [RemarkKind.CHANGED]: t("recipes.changed"),
    [RemarkKind.NEEDED]: t("recipes.needed"),
  };
  if (remarks.length === 0) return null;
  return (
    <ul className="flex max-h-48 flex-col gap-2 overflow-y-auto rounded-lg border border-line p-3 text-sm">
      {remarks.map(({ kind, part, value, message }) => (
        <li key={`${kind} ${part} ${value}`}>
          <span className="font-medium">{`${kinds[kind]}: ${part}`}</span>
          {value && <span className="ml-1.5 break-all text-muted">{value}</span>}
          <p className="text-muted">{message}</p>
        </li>
      ))}
    </ul>
  );
}
