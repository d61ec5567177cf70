import { useMutation, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { KeyRound, Link2, Unlink } from "lucide-react";
import { useTranslation } from "react-i18next";
import { identities } from "@/api/entry";
import { useProblemText } from "@/app/useProblem";
import { Button, Notice } from "@/components/ui";
import { IDENTITIES, useIdentities } from "./identities";
import { leaveToLink } from "./linking";
import { LABELS, nameOf, ProviderIcon, useProviders } from "./providers";
import { SignInFailure } from "./SignInFailure";

const route = getRouteApi("/inside/account/identities");

export function IdentitiesPage() {
  const { t } = useTranslation();
  return (
    <div className="h-full overflow-y-auto p-6">
      <div className="mx-auto flex max-w-2xl flex-col gap-4">
        <Link to="/account" className="self-start text-sm text-muted underline">
          {t("security.back")}
        </Link>
        <SignInFailure search={route.useSearch()} />
        <Identities />
      </div>
    </div>
  );
}

/** The ways into the account: its password, what is linked, and what could be. */
export function Identities() {
  const { t, i18n } = useTranslation();
  const text = useProblemText();
  const queries = useQueryClient();
  const providers = useProviders();
  const linked = useIdentities();
  const unlinking = useMutation({
    mutationFn: (identityId: string) => identities.unlinkIdentity({ identityId }),
    onSuccess: () => queries.invalidateQueries({ queryKey: IDENTITIES }),
  });
  const linking = useMutation({ mutationFn: leaveToLink });
  const problem = linked.error ?? unlinking.error ?? linking.error;
  const found = linked.data?.identities ?? [];
  const isOnlyWayIn = !linked.data?.hasPassword && found.length === 1;
  const missing = (providers.data?.names ?? []).filter(
    (name) => !found.some((identity) => nameOf(identity.provider) === name),
  );
  return (
    <section className="flex flex-col gap-4 rounded-2xl border border-line bg-surface p-6">
      <h2 className="text-xl font-semibold tracking-tight">{t("identities.title")}</h2>
      {problem && <Notice>{text(problem)}</Notice>}
      <ul className="flex flex-col divide-y divide-line">
        {linked.data?.hasPassword && (
          <li className="flex items-center gap-3 py-3">
            <KeyRound className="size-4.5 text-muted" aria-hidden />
            {t("account.password")}
          </li>
        )}
        {found.map((identity) => {
          const name = nameOf(identity.provider);
          if (!name) return null;
          const since = new Date(Number(identity.createTime?.seconds ?? 0) * 1000);
          return (
            <li key={identity.identityId} className="flex items-center gap-3 py-3">
              <ProviderIcon name={name} />
              <span className="min-w-0 flex-1">
                <span className="font-medium">{LABELS[name]}</span>
                <span className="block truncate text-sm text-muted">
                  {identity.email && `${identity.email} · `}
                  {t("identities.since", { date: since.toLocaleDateString(i18n.language) })}
                </span>
              </span>
              <Button
                kind="danger"
                disabled={isOnlyWayIn || unlinking.isPending}
                aria-label={t("identities.unlinkFrom", { provider: LABELS[name] })}
                onClick={() => unlinking.mutate(identity.identityId)}
              >
                <Unlink className="size-4" aria-hidden />
                {t("identities.unlink")}
              </Button>
            </li>
          );
        })}
        {missing.map((name) => (
          <li key={name} className="flex items-center gap-3 py-3">
            <ProviderIcon name={name} />
            <span className="flex-1 font-medium">{LABELS[name]}</span>
            <Button
              disabled={linking.isPending}
              aria-label={t("identities.linkTo", { provider: LABELS[name] })}
              onClick={() => linking.mutate(name)}
            >
              <Link2 className="size-4" aria-hidden />
              {t("identities.link")}
            </Button>
          </li>
        ))}
      </ul>
      {isOnlyWayIn && <p className="text-sm text-muted">{t("identities.onlyWayIn")}</p>}
    </section>
  );
}
