import { useMutation } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { emails } from "@/api/emails";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { EntryCard } from "../EntryCard";
import { useLinkToken } from "../linkToken";

/** Where the link leads that gives the old address back. It wants a click: some mail programs open links, scripts and all. */
export function UndoEmailPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const token = useLinkToken();
  const undoing = useMutation({ mutationFn: () => emails.undoEmailChange({ token }) });

  return (
    <EntryCard
      title={t("emailChange.undoTitle")}
      lead={t("emailChange.undoLead")}
      onSubmit={() => undoing.mutate()}
    >
      {!token && !undoing.isSuccess && <Notice>{t("account.linkIncomplete")}</Notice>}
      {undoing.error && <Notice>{text(undoing.error)}</Notice>}
      {undoing.data ? (
        <Notice tone="plain">{t("emailChange.undone", { email: undoing.data.email })}</Notice>
      ) : (
        <Button type="submit" kind="primary" disabled={!token || undoing.isPending}>
          {t("emailChange.undo")}
        </Button>
      )}
    </EntryCard>
  );
}
