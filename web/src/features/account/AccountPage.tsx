import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { useTranslation } from "react-i18next";
import { useProblemText } from "@/app/useProblem";
import { Notice } from "@/components/ui";
import { ApiKeys } from "./ApiKeys";
import { ChangePassword } from "./ChangePassword";
import { DeleteAccount } from "./deletion/DeleteAccount";
import { ChangeEmail } from "./email/ChangeEmail";
import { useIdentities } from "./identities/identities";
import { MailPassword } from "./MailPassword";
import { Profile } from "./Profile";
import { useMe } from "./profile";
import { ResendLink } from "./ResendLink";
import { Sessions } from "./Sessions";
import { Webhooks } from "./webhooks/Webhooks";

/** What a person can see and change of their account. */
export function AccountPage() {
  const { t } = useTranslation();
  const text = useProblemText();
  const ways = useIdentities();
  const { data: me, error } = useMe();

  return (
    <div className="h-full overflow-y-auto p-6">
      <div className="mx-auto flex max-w-2xl flex-col gap-8">
        <h2 className="text-2xl font-semibold tracking-tight">{t("account.title")}</h2>
        {error && <Notice>{text(error)}</Notice>}
        {me && (
          <Section title={t("profile.title")}>
            <Profile me={me} />
          </Section>
        )}
        {me && (
          <Section title={t("account.email")}>
            <p className="break-all">
              {me.email}{" "}
              <span className="text-sm text-muted">
                {me.emailVerified ? t("account.isVerified") : t("account.isUnverified")}
              </span>
            </p>
            {!me.emailVerified && (
              <div className="flex flex-col items-start gap-3">
                <ResendLink email={me.email} />
              </div>
            )}
            <ChangeEmail hasPassword={ways.data?.hasPassword !== false} />
          </Section>
        )}
        <Section title={t("account.password")}>
          {me && ways.data?.hasPassword === false ? (
            <MailPassword email={me.email} />
          ) : (
            !ways.isPending && <ChangePassword />
          )}
        </Section>
        <Section title={t("identities.title")}>
          <Link to="/account/identities" className="self-start underline">
            {t("identities.see")}
          </Link>
        </Section>
        <Section title={t("security.title")}>
          <Link to="/account/security" className="self-start underline">
            {t("security.see")}
          </Link>
        </Section>
        <Section title={t("usage.title")}>
          <Link to="/account/usage" className="self-start underline">
            {t("usage.see")}
          </Link>
        </Section>
        <Section title={t("account.sessions")}>
          <Sessions />
        </Section>
        <Section title={t("account.keys")}>
          <ApiKeys />
        </Section>
        <Section title={t("webhooks.title")}>
          <Webhooks />
        </Section>
        {me && (
          <Section title={t("deletion.title")}>
            <DeleteAccount email={me.email} hasPassword={ways.data?.hasPassword !== false} />
          </Section>
        )}
      </div>
    </div>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section aria-label={title} className="flex flex-col gap-3 rounded-2xl border border-line bg-surface p-6">
      <h3 className="font-medium text-muted">{title}</h3>
      {children}
    </section>
  );
}
