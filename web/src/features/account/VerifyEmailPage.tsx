import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { auth } from "@/api/entry";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { EntryCard } from "./EntryCard";
import { useLinkToken } from "./linkToken";

/** Where the link leads that confirms an address. It wants a click: some mail programs open links, scripts and all. */
export function VerifyEmailPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const token = useLinkToken();
  const verifying = useMutation({
    mutationFn: () => auth.verifyEmail({ token }),
    onSuccess: () => queries.invalidateQueries(),
  });

  return (
    <EntryCard title={t("account.verifyTitle")} onSubmit={() => verifying.mutate()}>
      {!token && !verifying.isSuccess && <Notice>{t("account.linkIncomplete")}</Notice>}
      {verifying.error && <Notice>{text(verifying.error)}</Notice>}
      {verifying.data ? (
        <>
          <Notice tone="plain">{t("account.verified", { email: verifying.data.email })}</Notice>
          <Link to="/" className="text-center text-accent underline">
            {t("app.home")}
          </Link>
        </>
      ) : (
        <Button type="submit" kind="primary" disabled={!token || verifying.isPending}>
          {t("account.verify")}
        </Button>
      )}
    </EntryCard>
  );
}
