import { Link } from "@tanstack/react-router";
import { MailWarning } from "lucide-react";
import { useTranslation } from "react-i18next";
import { useMe } from "./profile";

/** Reminds of the mail with the link, as long as the address isn't confirmed. */
export function VerifyBanner() {
  const { t } = useTranslation();
  const { data: me } = useMe();
  if (!me || me.emailVerified) return null;
  return (
    <p
      role="status"
      className="flex items-center gap-2 border-b border-line bg-raised px-4 py-2 text-sm text-muted"
    >
      <MailWarning className="size-4 shrink-0" aria-hidden />
      <span>{t("account.confirmReminder")}</span>
      <Link to="/account" className="whitespace-nowrap text-accent underline">
        {t("account.title")}
      </Link>
    </p>
  );
}
