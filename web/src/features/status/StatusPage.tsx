import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { Parts } from "./Parts";

/** How the platform is, for whoever asks: needs no account. */
export function StatusPage() {
  const { t } = useTranslation();
  return (
    <main className="h-full overflow-y-auto">
      <div className="mx-auto flex max-w-2xl flex-col gap-8 p-6 md:p-10">
        <header className="flex items-center gap-3">
          <Link to="/" aria-label={t("app.home")}>
            <img src="/favicon.svg" alt="" className="size-10" />
          </Link>
          <h1 className="text-2xl font-semibold tracking-tight">{t("status.title")}</h1>
        </header>
        <Parts />
      </div>
    </main>
  );
}
