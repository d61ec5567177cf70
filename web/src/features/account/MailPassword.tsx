import { useMutation } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { auth } from "@/api/entry";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";

/** Mails a link to set a first password: who signs in at a provider has none that could be changed. */
export function MailPassword({ email }: { email: string }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const asking = useMutation({ mutationFn: () => auth.forgotPassword({ email }) });
  return (
    <>
      <p className="text-muted">{t("account.noPassword")}</p>
      {asking.isSuccess && <Notice tone="plain">{t("account.passwordMailed", { email })}</Notice>}
      {asking.error && <Notice>{text(asking.error)}</Notice>}
      <Button className="self-start" disabled={asking.isPending} onClick={() => asking.mutate()}>
        {t("account.forgotSend")}
      </Button>
    </>
  );
}
