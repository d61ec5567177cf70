import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { Download, ImageOff, Sparkles } from "lucide-react";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { problemOf } from "@/api/problem";
import { sharing } from "@/api/sharing";
import { useProblemText } from "@/app/useProblem";
import { Button, Empty, Field, Input, Notice } from "@/components/ui";
import type { SharedImage, SharedRecipe } from "@/gen/pingvas/gallery/v1/sharing_service_pb";

const route = getRouteApi("/shared/$shareToken");

/** The picture that a link shows, to anybody. */
export function SharedPage() {
  const { t } = useTranslation();
  const { shareToken } = route.useParams();
  const [password, setPassword] = useState("");
  const { data, error, refetch } = useQuery({
    queryKey: ["shared", shareToken, password],
    meta: { isPublic: true },
    queryFn: () => fetchShared(shareToken, password),
    // Each call counts as a view.
    staleTime: Number.POSITIVE_INFINITY,
  });
  return (
    <div className="flex h-full flex-col">
      <header className="flex h-13 shrink-0 items-center gap-3 border-b border-line bg-surface px-4">
        <img src="/favicon.svg" alt="" className="size-7" />
        <span className="font-semibold tracking-tight">{t("app.name")}</span>
        <span className="flex-1" />
        <Link
          to="/"
          className="inline-flex h-9 items-center gap-2 rounded-lg bg-accent px-3.5 font-medium text-accent-ink"
        >
          <Sparkles className="size-4" aria-hidden />
          {t("shared.makeOwn")}
        </Link>
      </header>
      <main className="min-h-0 flex-1">
        {data && <Picture {...data} />}
        {error && <Failure error={error} onRepeat={() => void refetch()} onPassword={setPassword} />}
      </main>
    </div>
  );
}

interface Shown {
  image: SharedImage;
  /** An address of the bytes in this page. */
  url: string;
}

/** Fetches a shared picture with its bytes: its address works for a minute, but who looks at it longer may keep it. */
async function fetchShared(shareToken: string, password: string): Promise<Shown> {
  const image = password
    ? await sharing.unlockSharedImage({ shareToken, password })
    : await sharing.getSharedImage({ shareToken });
  const reply = await fetch(image.contentUrl || image.thumbnailUrl);
  if (!reply.ok) throw new Error(reply.statusText);
  return { image, url: URL.createObjectURL(await reply.blob()) };
}

function Picture({ image, url }: Shown) {
  const { t } = useTranslation();
  return (
    <div className="flex h-full flex-col lg:flex-row">
      <div className="flex min-h-0 flex-1 items-center justify-center bg-canvas p-4">
        <img
          src={url}
          width={image.widthPx}
          height={image.heightPx}
          alt={image.recipe?.prompt || t("shared.picture")}
          className="size-full object-contain"
        />
      </div>
      <aside className="flex w-full shrink-0 flex-col gap-4 overflow-y-auto border-line bg-surface p-5 max-lg:max-h-[45%] max-lg:border-t lg:w-80 lg:border-l">
        <h1 className="text-sm text-muted">{t("shared.made")}</h1>
        {image.recipe && <Recipe recipe={image.recipe} />}
        {image.contentUrl && (
          <a
            href={url}
            download={`${t("shared.picture")}.png`}
            className="inline-flex h-9 items-center justify-center gap-2 rounded-lg border border-line bg-raised font-medium"
          >
            <Download className="size-4" aria-hidden />
            {t("gallery.download")}
          </a>
        )}
      </aside>
    </div>
  );
}

function Recipe({ recipe }: { recipe: SharedRecipe }) {
  const { t } = useTranslation();
  return (
    <>
      <p className="whitespace-pre-wrap">{recipe.prompt}</p>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
        <dt className="text-muted">{t("gallery.model")}</dt>
        <dd className="truncate">{recipe.modelId}</dd>
        <dt className="text-muted">{t("gallery.seed")}</dt>
        <dd className="truncate tabular-nums">{String(recipe.seed)}</dd>
      </dl>
    </>
  );
}

function Failure({
  error,
  onRepeat,
  onPassword,
}: {
  error: Error;
  onRepeat: () => void;
  onPassword: (password: string) => void;
}) {
  const { t } = useTranslation();
  const text = useProblemText();
  const { reason } = problemOf(error);
  if (reason === "SHARE_PASSWORD_REQUIRED" || reason === "SHARE_PASSWORD_WRONG") {
    return <Lock isWrong={reason === "SHARE_PASSWORD_WRONG"} onPassword={onPassword} />;
  }
  if (reason === "SHARE_LINK_NOT_FOUND") {
    return (
      <Empty icon={<ImageOff className="size-7" aria-hidden />} title={t("shared.gone")}>
        <p>{t("shared.goneHint")}</p>
      </Empty>
    );
  }
  return (
    <div className="mx-auto flex max-w-md flex-col gap-3 p-8">
      <Notice>{text(error)}</Notice>
      <Button onClick={onRepeat}>{t("shared.again")}</Button>
    </div>
  );
}

/** Asks for the password of a link. */
function Lock({ isWrong, onPassword }: { isWrong: boolean; onPassword: (password: string) => void }) {
  const { t } = useTranslation();
  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    onPassword(String(new FormData(event.currentTarget).get("password")));
  }
  return (
    <form onSubmit={submit} className="mx-auto flex max-w-md flex-col gap-3 p-8">
      <p>{t("shared.locked")}</p>
      <Field label={t("account.password")} problem={isWrong ? t("shared.wrong") : undefined}>
        {(ids) => (
          <Input {...ids} name="password" type="password" autoComplete="off" required maxLength={200} />
        )}
      </Field>
      <Button type="submit" kind="primary">
        {t("shared.unlock")}
      </Button>
    </form>
  );
}
