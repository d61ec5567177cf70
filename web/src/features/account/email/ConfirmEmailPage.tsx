import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { emails } from "@/api/emails";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { useLinkToken } from "../linkToken";

/** Where the link leads that makes a new address one's own. */
export function ConfirmEmailPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const token = useLinkToken();
  const confirming = useMutation({
    mutationFn: () => emails.confirmEmailChange({ token }),
    onSuccess: () => queries.invalidateQueries(),
  });

  return (
    <div className="h-full overflow-y-auto p-6">
      <div className="mx-auto flex max-w-md flex-col items-start gap-4">
        <h2 className="text-2xl font-semibold tracking-tight">{t("emailChange.confirmTitle")}</h2>
        {!token && !confirming.isSuccess && <Notice>{t("account.linkIncomplete")}</Notice>}
        {confirming.error && <Notice>{text(confirming.error)}</Notice>}
        {confirming.data ? (
          <>
            <Notice tone="plain">{t("emailChange.confirmed", { email: confirming.data.email })}</Notice>
            <Link to="/account" className="text-accent underline">
              {t("account.title")}
            </Link>
          </>
        ) : (
          <Button
            kind="primary"
            disabled={!token || confirming.isPending}
            onClick={() => confirming.mutate()}
          >
            {t("emailChange.confirm")}
          </Button>
        )}
      </div>
    </div>
  );
}
