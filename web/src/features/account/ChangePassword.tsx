import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { FormEvent } from "react";
import { useTranslation } from "react-i18next";
import { auth } from "@/api/entry";
import { useProblemText, violationOf } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { PasswordField } from "./PasswordField";

interface Passwords {
  currentPassword: string;
  newPassword: string;
}

/** Replaces the password, which ends all other sessions. */
export function ChangePassword() {
  const { t } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const changing = useMutation({
    mutationFn: (passwords: Passwords) => auth.changePassword(passwords),
    onSuccess: () => queries.invalidateQueries({ queryKey: ["sessions"] }),
  });
  const newProblem = violationOf(changing.error, "new_password");

  function change(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = event.currentTarget;
    const values = new FormData(form);
    changing.mutate(
      {
        currentPassword: String(values.get("currentPassword")),
        newPassword: String(values.get("newPassword")),
      },
      { onSuccess: () => form.reset() },
    );
  }

  return (
    <form onSubmit={change} className="flex flex-col items-stretch gap-3">
      <PasswordField name="currentPassword" label={t("account.currentPassword")} isCurrent />
      <PasswordField name="newPassword" label={t("account.newPassword")} problem={newProblem} />
      {changing.isSuccess && <Notice tone="plain">{t("account.passwordChanged")}</Notice>}
      {changing.error && !newProblem && <Notice>{text(changing.error)}</Notice>}
      <Button type="submit" className="self-start" disabled={changing.isPending}>
        {t("account.setPassword")}
      </Button>
    </form>
  );
}
