import { useMutation } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { auth } from "@/api/entry";
import { signIn } from "@/api/session";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { EntryCard } from "./EntryCard";
import { useLinkToken } from "./linkToken";
import { PasswordField } from "./PasswordField";

/** Where the link leads that sets a new password; who has set it is signed in. */
export function ResetPasswordPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const navigate = useNavigate();
  const token = useLinkToken();
  const resetting = useMutation({
    mutationFn: async (newPassword: string) => {
      const { email } = await auth.resetPassword({ token, newPassword });
      await signIn(email, newPassword);
    },
    onSuccess: () => navigate({ to: "/" }),
  });
  const passwordProblem = violationOf(resetting.error, "new_password");

  return (
    <EntryCard
      title={t("account.resetTitle")}
      lead={t("account.resetLead")}
      onSubmit={(form) => resetting.mutate(String(form.get("newPassword")))}
    >
      <PasswordField name="newPassword" label={t("account.newPassword")} problem={passwordProblem} />
      {!token && <Notice>{t("account.linkIncomplete")}</Notice>}
      {resetting.error && !passwordProblem && <Notice>{text(resetting.error)}</Notice>}
      <Button type="submit" kind="primary" disabled={!token || resetting.isPending}>
        {t("account.setPassword")}
      </Button>
      <Link to="/forgot-password" className="text-center text-sm text-muted underline">
        {t("account.anotherLink")}
      </Link>
    </EntryCard>
  );
}
