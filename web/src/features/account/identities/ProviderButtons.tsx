import { useTranslation } from "react-i18next";
import { LABELS, ProviderIcon, useProviders } from "./providers";

/** A way to each provider of this deployment; nothing where there is none. They are links, since they leave the page. */
export function ProviderButtons() {
  const { t } = useTranslation();
  const { data } = useProviders();
  if (!data?.names.length) return null;
  return (
    <div className="flex flex-col gap-3">
      <p className="flex items-center gap-3 text-sm text-muted before:h-px before:flex-1 before:bg-line after:h-px after:flex-1 after:bg-line">
        {t("identities.or")}
      </p>
      {data.names.map((name) => (
        <a
          key={name}
          href={`${data.studioUrl}/api/v1/auth/${name}`}
          className="inline-flex h-9 items-center justify-center gap-2 rounded-lg border border-line bg-raised px-3.5 font-medium transition hover:brightness-105"
        >
          <ProviderIcon name={name} />
          {t("identities.continueWith", { provider: LABELS[name] })}
        </a>
      ))}
    </div>
  );
}
