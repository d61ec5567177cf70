import { create } from "@bufbuild/protobuf";
import { timestampFromMs, timestampMs } from "@bufbuild/protobuf/wkt";
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Check, Copy, Link2, QrCode, Trash2 } from "lucide-react";
import { type FormEvent, useState } from "react";
import { useTranslation } from "react-i18next";
import { sharing } from "@/api/sharing";
import { useProblemText } from "@/app/useProblem";
import { Button, Field, IconButton, Input, Notice, Select } from "@/components/ui";
import { CreateShareLinkRequestSchema, type ShareLink } from "@/gen/pingvas/gallery/v1/sharing_service_pb";
import { QrImage } from "./QrImage";

const DAY_MS = 86_400_000;
/** How long links live, in days, by the word for it; 0: for ever. */
const LIFETIMES = { never: 0, day: 1, week: 7, month: 30 } as const;
type Lifetime = keyof typeof LIFETIMES;
type Terms = Pick<ShareLink, "withRecipe" | "noDownload"> & { password: string };
const COPIED_MS = 2000;

/** The links of a picture: made, copied, shown as QR code and taken back. */
export function Share({ imageId }: { imageId: string }) {
  const { t } = useTranslation();
  const [isOpen, setIsOpen] = useState(false);
  return (
    <details open={isOpen} onToggle={(event) => setIsOpen(event.currentTarget.open)}>
      <summary className="flex h-9 cursor-pointer list-none items-center justify-center gap-2 rounded-lg border border-line bg-raised font-medium">
        <Link2 className="size-4" aria-hidden />
        {t("share.title")}
      </summary>
      {isOpen && <Links imageId={imageId} />}
    </details>
  );
}

function Links({ imageId }: { imageId: string }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const queryKey = ["sharing", imageId];
  const { data, error } = useQuery({ queryKey, queryFn: () => sharing.getImageSharing({ imageId }) });
  const making = useMutation({
    mutationFn: ({ lifetime, ...terms }: Terms & { lifetime: Lifetime }) => {
      const days = LIFETIMES[lifetime];
      const request = create(CreateShareLinkRequestSchema, {
        imageId,
        ...terms,
        requestId: crypto.randomUUID(),
        ...(days && { expireTime: timestampFromMs(Date.now() + days * DAY_MS) }),
      });
      return sharing.createShareLink(request);
    },
    onSuccess: () => queries.invalidateQueries({ queryKey }),
  });
  const revoking = useMutation({
    mutationFn: (shareLinkId: string) => sharing.revokeShareLinks({ imageId, shareLinkId }),
    onSuccess: (left) => queries.setQueryData(queryKey, left),
  });
  const failure = error ?? making.error ?? revoking.error;

  function make(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    making.mutate({
      withRecipe: form.has("withRecipe"),
      noDownload: form.has("noDownload"),
      password: String(form.get("password")),
      lifetime: form.get("lifetime") as Lifetime,
    });
  }

  return (
    <div className="mt-3 flex flex-col gap-3">
      <form onSubmit={make} className="flex flex-col gap-3">
        <label className="flex items-center gap-2 text-sm">
          <input type="checkbox" name="withRecipe" className="size-4 accent-accent" />
          {t("share.withRecipe")}
        </label>
        <label className="flex items-center gap-2 text-sm">
          <input type="checkbox" name="noDownload" className="size-4 accent-accent" />
          {t("share.noDownload")}
        </label>
        <Field label={t("share.password")}>
          {(ids) => (
            <Input
              {...ids}
              name="password"
              autoComplete="off"
              minLength={6}
              maxLength={200}
              placeholder={t("share.noPassword")}
            />
          )}
        </Field>
        <Field label={t("share.ends")}>
          {(ids) => (
            <Select {...ids} name="lifetime" defaultValue="never">
              <option value="never">{t("share.never")}</option>
              <option value="day">{t("share.day")}</option>
              <option value="week">{t("share.week")}</option>
              <option value="month">{t("share.month")}</option>
            </Select>
          )}
        </Field>
        <Button type="submit" kind="primary" disabled={making.isPending}>
          {t("share.create")}
        </Button>
      </form>
      {failure && <Notice>{text(failure)}</Notice>}
      <ul className="flex flex-col gap-3">
        {data?.links.map((link) => (
          <LinkRow key={link.shareLinkId} link={link} onRevoke={() => revoking.mutate(link.shareLinkId)} />
        ))}
      </ul>
    </div>
  );
}

function LinkRow({ link, onRevoke }: { link: ShareLink; onRevoke: () => void }) {
  const { t, i18n } = useTranslation();
  const [showsQr, setShowsQr] = useState(false);
  const [isCopied, setIsCopied] = useState(false);
  const url = link.shareToken && new URL(`/shared/${link.shareToken}`, location.origin).href;
  const end = link.expireTime && new Date(timestampMs(link.expireTime));
  const facts = [
    link.withRecipe ? t("share.recipe") : t("share.pictureOnly"),
    link.hasPassword && t("share.guarded"),
    link.noDownload && t("share.smallOnly"),
    t("share.views", { count: link.viewCount }),
    end &&
      (end > new Date() ? t("share.until", { date: end.toLocaleString(i18n.language) }) : t("share.ended")),
  ];

  async function copy() {
    await navigator.clipboard.writeText(url);
    setIsCopied(true);
    setTimeout(() => setIsCopied(false), COPIED_MS);
  }

  return (
    <li className="flex flex-col gap-2 rounded-lg border border-line p-2">
      <div className="flex items-center gap-1">
        {url ? (
          <>
            <Input
              readOnly
              value={url}
              aria-label={t("share.link")}
              onFocus={(event) => event.currentTarget.select()}
              className="min-w-0 text-xs"
            />
            <IconButton label={isCopied ? t("share.copied") : t("share.copy")} onClick={() => void copy()}>
              {isCopied ? <Check className="size-4" aria-hidden /> : <Copy className="size-4" aria-hidden />}
            </IconButton>
            <IconButton
              label={t("share.qr")}
              aria-pressed={showsQr}
              onClick={() => setShowsQr((shows) => !shows)}
            >
              <QrCode className="size-4" aria-hidden />
            </IconButton>
          </>
        ) : (
          <p className="flex-1 text-sm text-muted">{t("share.lost")}</p>
        )}
        <IconButton label={t("share.revoke")} onClick={onRevoke}>
          <Trash2 className="size-4 text-danger" aria-hidden />
        </IconButton>
      </div>
      {showsQr && <QrImage text={url} label={t("share.qrOf", { url })} />}
      <p className="text-xs text-muted tabular-nums">{facts.filter(Boolean).join(" · ")}</p>
    </li>
  );
}
