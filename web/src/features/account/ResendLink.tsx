import { useMutation } from "@tanstack/react-query";
import { useTranslation } from "react-i18next";
import { auth } from "@/api/entry";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";

/** Asks for another link that confirms an address. */
export function ResendLink({ email }: { email: string }) {
  const { t } = useTranslation();
  const text = useProblemText();
  const resending = useMutation({ mutationFn: () => auth.resendVerification({ email }) });
  return (
    <>
      {resending.isSuccess && <Notice tone="plain">{t("account.mailSent")}</Notice>}
      {resending.error && <Notice>{text(resending.error)}</Notice>}
      <Button disabled={resending.isPending} onClick={() => resending.mutate()}>
        {t("account.resend")}
      </Button>
    </>
  );
}
