import { useMutation } from "@tanstack/react-query";
import { FileImage } from "lucide-react";
import { lazy, Suspense, useLayoutEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import type { Recipe } from "@/gen/pingvas/generation/v1/recipe_pb";

const RecipeDialog = lazy(async () => ({ default: (await import("./RecipeDialog")).RecipeDialog }));

const TYPES = "image/png,image/jpeg,image/webp";

interface Read {
  recipe: Recipe;
  /** Address of the picture, in this page only. */
  url: string;
}

/** Takes a picture that is chosen, dropped or pasted on the page, and offers what its recipe says. */
export function RecipeFromPicture() {
  const { t } = useTranslation();
  const text = useProblemText();
  const [read, setRead] = useState<Read>();
  const { mutate, isPending, error } = useMutation({ mutationFn: readRecipe, onSuccess: setRead });
  const isOver = useDrops(mutate);
  const chooser = useRef<HTMLInputElement>(null);

  function close() {
    if (read) URL.revokeObjectURL(read.url);
    setRead(undefined);
  }

  return (
    <div className="flex flex-col gap-2 px-4 pt-4">
      <Button onClick={() => chooser.current?.click()} disabled={isPending} title={t("recipes.hint")}>
        <FileImage className="size-4" aria-hidden />
        {isPending ? t("recipes.reading") : t("recipes.open")}
      </Button>
      <input
        ref={chooser}
        type="file"
        accept={TYPES}
        aria-label={t("recipes.open")}
        className="hidden"
        onChange={(event) => {
          const file = event.target.files?.[0];
          event.target.value = ""; // the same file may be chosen again
          if (file) mutate(file);
        }}
      />
      {error && <Notice>{error instanceof NoPictureError ? t("recipes.noPicture") : text(error)}</Notice>}
      {isOver && (
        <div className="pointer-events-none fixed inset-3 z-20 flex items-center justify-center rounded-2xl border-2 border-dashed border-accent bg-canvas/85 text-lg font-medium">
          {t("recipes.drop")}
        </div>
      )}
      {read && (
        <Suspense>
          <RecipeDialog recipe={read.recipe} url={read.url} onClose={close} />
        </Suspense>
      )}
    </div>
  );
}

class NoPictureError extends Error {}

async function readRecipe(file: File): Promise<Read> {
  const [{ recipes }, { withoutPixels }] = await Promise.all([
    import("@/api/recipes"),
    import("./withoutPixels"),
  ]);
  const picture = withoutPixels(new Uint8Array(await file.arrayBuffer()));
  if (!picture) throw new NoPictureError();
  const recipe = await recipes.readRecipe({ picture });
  return { recipe, url: URL.createObjectURL(file) };
}

/** Hands over pictures that are dropped or pasted anywhere on the page, and says whether one is being dragged over it. */
function useDrops(take: (file: File) => void): boolean {
  const [isOver, setOver] = useState(false);
  // Before the page can be seen: what is dropped on it at once must not replace it.
  useLayoutEffect(() => {
    const listening = new AbortController();
    const { signal } = listening;
    const hasFile = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const drag = (event: DragEvent) => {
      if (!hasFile(event)) return;
      event.preventDefault(); // or the browser would open the file in place of the page
      setOver(true);
    };
    window.addEventListener("dragenter", drag, { signal });
    window.addEventListener("dragover", drag, { signal });
    window.addEventListener(
      "dragleave",
      (event) => {
        if (!event.relatedTarget) setOver(false); // it has left the window
      },
      { signal },
    );
    window.addEventListener(
      "drop",
      (event) => {
        if (!hasFile(event)) return;
        event.preventDefault();
        setOver(false);
        const file = event.dataTransfer?.files[0];
        if (file) take(file);
      },
      { signal },
    );
    window.addEventListener(
      "paste",
      (event) => {
        const file = event.clipboardData?.files[0];
        if (!file) return; // text goes where the caret is
        event.preventDefault();
        take(file);
      },
      { signal },
    );
    return () => listening.abort();
  }, [take]);
  return isOver;
}
