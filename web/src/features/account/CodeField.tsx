import { useTranslation } from "react-i18next";
import { Field, Input } from "@/components/ui";

/** A code of the authenticator app; recovery codes fit as well. */
export function CodeField() {
  const { t } = useTranslation();
  return (
    <Field label={t("security.code")} hint={t("security.codeHint")}>
      {(ids) => (
        <Input
          {...ids}
          name="code"
          autoComplete="one-time-code"
          autoCapitalize="off"
          maxLength={40}
          required
        />
      )}
    </Field>
  );
}
