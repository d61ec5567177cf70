import { useTranslation } from "react-i18next";
import { Field, Input } from "@/components/ui";

/** A password that is chosen now, or, with `isCurrent`, one that exists. */
export function PasswordField({
  name,
  label,
  problem,
  isCurrent = false,
}: {
  name: string;
  label: string;
  problem?: string | undefined;
  isCurrent?: boolean;
}) {
  const { t } = useTranslation();
  return (
    <Field label={label} problem={problem} hint={!isCurrent && t("account.passwordHint")}>
      {(ids) => (
        <Input
          {...ids}
          name={name}
          type="password"
          autoComplete={isCurrent ? "current-password" : "new-password"}
          required
        />
      )}
    </Field>
  );
}
