import { CircleUserRound } from "lucide-react";
import { useTranslation } from "react-i18next";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { useUpdateMe } from "./profile";

/** Lets a picture of one's own stand for one. */
export function UseAsAvatar({ url }: { url: string }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const updating = useUpdateMe();

  async function use() {
    const reply = await fetch(url);
    if (reply.ok) updating.mutate({ avatar: new Uint8Array(await reply.arrayBuffer()) });
  }

  return (
    <>
      <Button onClick={() => void use()} disabled={updating.isPending}>
        <CircleUserRound className="size-4" aria-hidden />
        {t("profile.useAsAvatar")}
      </Button>
      {updating.isSuccess && <Notice tone="plain">{t("profile.saved")}</Notice>}
      {updating.error && <Notice>{text(updating.error)}</Notice>}
    </>
  );
}
