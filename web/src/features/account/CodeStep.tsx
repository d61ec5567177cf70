import { useMutation } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { signInWithCode } from "@/api/session";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { CodeField } from "./CodeField";
import { EntryCard } from "./EntryCard";

/** The second step of signing in: a code of the authenticator app, or a recovery code. */
export function CodeStep({ onBack }: { onBack: () => void }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const entering = useMutation({ mutationFn: (code: string) => signInWithCode(code) });
  return (
    <EntryCard
      title={t("security.codeTitle")}
      lead={t("security.codeLead")}
      onSubmit={(form) => entering.mutate(String(form.get("code")))}
    >
      <CodeField />
      {entering.error && <Notice>{text(entering.error)}</Notice>}
      <Button type="submit" kind="primary" disabled={entering.isPending}>
        {t("account.signIn")}
      </Button>
      <Button kind="ghost" onClick={onBack}>
        {t("account.backToSignIn")}
      </Button>
    </EntryCard>
  );
}
