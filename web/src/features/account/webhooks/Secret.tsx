import { useTranslation } from "react-i18next";
import { Notice } from "@/components/ui";

/** A secret that is shown this once. */
export function Secret({ secret }: { secret: string }) {
  const { t } = useTranslation();
  return (
    <Notice tone="plain">
      {t("webhooks.secretOnce")}
      <code className="mt-2 block select-all break-all font-mono text-ink">{secret}</code>
    </Notice>
  );
}
