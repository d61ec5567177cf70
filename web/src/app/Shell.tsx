import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet } from "@tanstack/react-router";
import {
  Boxes,
  CircleDollarSign,
  CreditCard,
  Images,
  Languages,
  LogOut,
  Moon,
  ShieldUser,
  Sparkles,
  WifiOff,
} from "lucide-react";
import { useEffect } from "react";
import { useTranslation } from "react-i18next";
import { credits } from "@/api/clients";
import { signOut } from "@/api/session";
import { IconButton } from "@/components/ui";
import { Avatar } from "@/features/account/Avatar";
import { useMe } from "@/features/account/profile";
import { VerifyBanner } from "@/features/account/VerifyBanner";
import { useConnection, watchJobs } from "@/features/queue/watch";
import { Role } from "@/gen/pingvas/common/v1/role_pb";
import { LANGUAGES, type Language } from "@/i18n";
import { speak } from "./language";
import { Overlays } from "./Overlays";
import { switchTheme } from "./theme";

const PLACES = [
  { to: "/", key: "generate", Icon: Sparkles },
  { to: "/gallery", key: "gallery", Icon: Images },
  { to: "/models", key: "models", Icon: Boxes },
  { to: "/billing", key: "billing", Icon: CreditCard },
] as const;

const PLACE = {
  className:
    "flex flex-col items-center gap-1 rounded-lg px-3 py-2 text-xs text-muted transition hover:text-ink",
  activeProps: { className: "bg-raised text-ink!", "aria-current": "page" },
} as const;

/** What is around every page of somebody who is signed in. */
export function Shell() {
  const { t } = useTranslation();
  const { data: me } = useMe();
  const queries = useQueryClient();
  useEffect(() => {
    const ending = new AbortController();
    void watchJobs(queries, ending.signal);
    return () => ending.abort();
  }, [queries]);

  return (
    <div className="flex h-full flex-col-reverse md:flex-row">
      <a href="#content" className="sr-only focus:not-sr-only focus:absolute focus:z-10 focus:p-3">
        {t("app.skip")}
      </a>
      <nav className="flex justify-around border-t border-line bg-surface p-1.5 md:w-20 md:flex-col md:justify-start md:gap-2 md:border-t-0 md:border-r md:py-4">
        <img src="/favicon.svg" alt="" className="mx-auto mb-4 hidden size-9 md:block" />
        {PLACES.map(({ to, key, Icon }) => (
          <Link key={to} to={to} activeOptions={{ exact: true }} {...PLACE}>
            <Icon className="size-5" aria-hidden />
            {t(`nav.${key}`)}
          </Link>
        ))}
        {me && me.role >= Role.SUPPORT && (
          <Link to="/admin/$section" params={{ section: "people" }} {...PLACE}>
            <ShieldUser className="size-5" aria-hidden />
            {t("nav.admin")}
          </Link>
        )}
      </nav>
      <div className="flex min-h-0 min-w-0 flex-1 flex-col">
        <Header />
        <VerifyBanner />
        <main id="content" tabIndex={-1} className="min-h-0 flex-1 outline-none">
          <Outlet />
        </main>
      </div>
      <Overlays />
    </div>
  );
}

function Header() {
  const { t, i18n } = useTranslation();
  const connection = useConnection();
  const { data: me } = useMe();
  const languages = Object.keys(LANGUAGES) as Language[];
  const next = languages[(languages.indexOf(i18n.language as Language) + 1) % languages.length] ?? "en";
  return (
    <header className="flex h-13 items-center gap-1 border-b border-line bg-surface px-4">
      <h1 className="truncate font-semibold tracking-tight">{t("app.name")}</h1>
      {connection === "lost" && (
        <span role="status" className="ml-3 flex items-center gap-1.5 text-sm text-danger">
          <WifiOff className="size-4" aria-hidden />
          {t("app.lost")}
        </span>
      )}
      <span className="flex-1" />
      <Balance />
      <Link
        to="/account"
        aria-label={t("account.title")}
        title={t("account.title")}
        className="inline-flex size-9 items-center justify-center rounded-lg text-muted transition hover:bg-raised hover:text-ink"
      >
        <Avatar content={me?.avatar} className={me?.avatar.length ? "size-7" : "size-4.5"} />
      </Link>
      <IconButton label={`${t("app.language")}: ${LANGUAGES[next]}`} onClick={() => speak(next)}>
        <Languages className="size-4.5" aria-hidden />
      </IconButton>
      <IconButton label={t("app.theme")} onClick={switchTheme}>
        <Moon className="size-4.5" aria-hidden />
      </IconButton>
      <IconButton label={t("app.signOut")} onClick={() => void signOut()}>
        <LogOut className="size-4.5" aria-hidden />
      </IconButton>
    </header>
  );
}

function Balance() {
  const { t, i18n } = useTranslation();
  const { data } = useQuery({ queryKey: ["balance"], queryFn: () => credits.getBalance({}) });
  if (!data) return null;
  const amount = Number(data.available).toLocaleString(i18n.language, { maximumFractionDigits: 1 });
  return (
    <span
      title={t("app.balance")}
      className="mr-2 flex items-center gap-1.5 whitespace-nowrap text-sm text-muted tabular-nums"
    >
      <CircleDollarSign className="size-4" aria-hidden />
      {t("app.credits", { amount })}
    </span>
  );
}
