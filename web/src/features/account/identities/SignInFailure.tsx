import { useTranslation } from "react-i18next";
import { Notice } from "@/components/ui";
import { type FailureSearch, failureKeys } from "./failure";
import { LABELS } from "./providers";

/** Says why signing in at a provider, or linking it, failed and what to do; nothing when it didn't. */
export function SignInFailure({ search }: { search: FailureSearch }) {
  const { t, i18n } = useTranslation();
  if (!search.failure) return null;
  const key = failureKeys(search).find((each) => i18n.exists(`signInFailure.${each}`)) ?? "other";
  const provider = search.provider ? LABELS[search.provider] : t("identities.theProvider");
  return <Notice>{t(`signInFailure.${key}`, { provider })}</Notice>;
}
