import { getRouteApi, Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { Notice } from "@/components/ui";
import { useMe } from "@/features/account/profile";
import { Parts } from "@/features/status/Parts";
import { Role } from "@/gen/pingvas/common/v1/role_pb";
import { AuditSection } from "./AuditSection";
import { JobSection } from "./JobSection";
import { LedgerSection } from "./LedgerSection";
import { LeadsSection } from "./leads/LeadsSection";
import { ModelsSection } from "./ModelsSection";
import { PeopleSection } from "./people/PeopleSection";
import { QueueSection } from "./queue/QueueSection";

const SECTIONS = {
  people: PeopleSection,
  queue: QueueSection,
  jobs: JobSection,
  models: ModelsSection,
  leads: LeadsSection,
  ledger: LedgerSection,
  audit: AuditSection,
  health: Parts,
} as const;

type Name = keyof typeof SECTIONS;

/** Support finds people; the rest is for administrators. */
const OF_SUPPORT: readonly Name[] = ["people", "health"];

const route = getRouteApi("/inside/admin/$section");

/** What administrators and support see of the platform. */
export function AdminPage() {
  const { t } = useTranslation();
  const { section } = route.useParams();
  const { data: me } = useMe();
  if (!me) return null;
  const isAdministrator = me.role === Role.ADMINISTRATOR;
  const names = (Object.keys(SECTIONS) as Name[]).filter(
    (name) => isAdministrator || OF_SUPPORT.includes(name),
  );
  const shown = names.find((name) => name === section);
  const Section = shown && SECTIONS[shown];
  const isAllowed = isAdministrator || me.role === Role.SUPPORT;
  return (
    <div className="h-full overflow-y-auto p-4 md:p-8">
      <div className="mx-auto flex max-w-6xl flex-col gap-6">
        <h2 className="text-2xl font-semibold tracking-tight">{t("admin.title")}</h2>
        {isAllowed && (
          <nav aria-label={t("admin.title")} className="flex gap-1 overflow-x-auto border-b border-line">
            {names.map((name) => (
              <Link
                key={name}
                to="/admin/$section"
                params={{ section: name }}
                className="-mb-px border-b-2 border-transparent px-3 py-2 whitespace-nowrap text-muted hover:text-ink"
                activeProps={{ className: "border-accent! text-ink!", "aria-current": "page" }}
                activeOptions={{ includeSearch: false }}
              >
                {t(`adminSection.${name}`)}
              </Link>
            ))}
          </nav>
        )}
        {isAllowed && Section ? <Section /> : <Notice>{t("admin.notAllowed")}</Notice>}
      </div>
    </div>
  );
}
