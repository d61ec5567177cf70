import { useMutation } from "@tanstack/react-query";
import type { FormEvent } from "react";
import { useTranslation } from "react-i18next";
import { deletion } from "@/api/deletion";
import { signIn, signOut } from "@/api/session";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { PasswordField } from "../PasswordField";

/** Closes the account. Who has a password gives it, by which they sign in anew; others must have signed in just before. */
export function DeleteAccount({ email, hasPassword }: { email: string; hasPassword: boolean }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const closing = useMutation({
    mutationFn: async (password: string) => {
      if (password) await signIn(email, password);
      await deletion.deleteMe({});
    },
    onSuccess: () => signOut(),
  });

  function close(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    closing.mutate(String(new FormData(event.currentTarget).get("password") ?? ""));
  }

  return (
    <details>
      <summary className="cursor-pointer text-sm underline">{t("deletion.begin")}</summary>
      <form onSubmit={close} className="mt-3 flex flex-col gap-3">
        <p className="text-sm text-muted">{t("deletion.hint")}</p>
        {hasPassword && <PasswordField name="password" label={t("account.password")} isCurrent />}
        {closing.error && <Notice>{text(closing.error)}</Notice>}
        <Button type="submit" kind="danger" className="self-start" disabled={closing.isPending}>
          {t("deletion.close")}
        </Button>
      </form>
    </details>
  );
}
