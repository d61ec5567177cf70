import { timestampDate } from "@bufbuild/protobuf/wkt";
import { getRouteApi } from "@tanstack/react-router";
import { ShieldCheck } from "lucide-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { Button, MoreButton, Select } from "@/components/ui";
import { useMe } from "@/features/account/profile";
import { Role } from "@/gen/pingvas/common/v1/role_pb";
import { Tier } from "@/gen/pingvas/common/v1/tier_pb";
import type { ManagedUser } from "@/gen/pingvas/user/v1/account_admin_service_pb";
import { Finder } from "../Finder";
import { namesOf } from "../names";
import { Refusal } from "../Refusal";
import { PersonDialog } from "./PersonDialog";
import { isSuspended, usePeople } from "./people";

const route = getRouteApi("/inside/admin/$section");

/** Who has an account, the newest first, and what may be done with it. */
export function PeopleSection() {
  const { t } = useTranslation();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const [openId, open] = useState("");
  const listing = usePeople(search);
  const people = listing.data?.pages.flatMap((page) => page.users) ?? [];
  const opened = people.find(({ user }) => user?.userId === openId);
  const choose = (name: "find" | "tier" | "role") => (text: string) =>
    void navigate({ search: (before) => ({ ...before, [name]: text }) });
  return (
    <section className="flex flex-col gap-4">
      <div className="flex flex-wrap items-center gap-3">
        <Finder label={t("admin.findPeople")} value={search.find ?? ""} onFind={choose("find")} />
        <Choice
          label={t("admin.tier")}
          any={t("admin.anyTier")}
          value={search.tier}
          onChoose={choose("tier")}
        >
          {namesOf(Tier).map((name) => [name, t(`tierName.${name}`)])}
        </Choice>
        <Choice
          label={t("admin.role")}
          any={t("admin.anyRole")}
          value={search.role}
          onChoose={choose("role")}
        >
          {namesOf(Role).map((name) => [name, t(`roleName.${name}`)])}
        </Choice>
      </div>
      <Refusal error={listing.error} />
      {listing.isSuccess && people.length === 0 && <p className="text-muted">{t("admin.nothingFound")}</p>}
      <People people={people} onOpen={open} />
      <MoreButton listing={listing}>{t("admin.more")}</MoreButton>
      {opened && <PersonDialog person={opened} onClose={() => open("")} />}
    </section>
  );
}

function Choice({
  label,
  any,
  value = "",
  onChoose,
  children,
}: {
  label: string;
  any: string;
  value: string | undefined;
  onChoose: (text: string) => void;
  children: string[][];
}) {
  return (
    <Select
      className="w-auto!"
      aria-label={label}
      value={value}
      onChange={(event) => onChoose(event.target.value)}
    >
      <option value="">{any}</option>
      {children.map(([name, text]) => (
        <option key={name} value={name}>
          {text}
        </option>
      ))}
    </Select>
  );
}

function People({ people, onOpen }: { people: ManagedUser[]; onOpen: (userId: string) => void }) {
  const { t, i18n } = useTranslation();
  const { data: me } = useMe();
  const days = new Intl.DateTimeFormat(i18n.language, { dateStyle: "medium" });
  if (people.length === 0) return null;
  return (
    <div className="overflow-x-auto rounded-2xl border border-line bg-surface">
      <table className="w-full text-sm">
        <caption className="sr-only">{t("adminSection.people")}</caption>
        <thead>
          <tr className="border-b border-line text-left text-muted">
            {(["person", "tier", "role", "registered"] as const).map((name) => (
              <th key={name} scope="col" className="px-5 py-3 font-medium whitespace-nowrap">
                {t(`peopleColumn.${name}`)}
              </th>
            ))}
            <th />
          </tr>
        </thead>
        <tbody className="divide-y divide-line">
          {people.map((person) => {
            const { user } = person;
            if (!user) return null;
            return (
              <tr key={user.userId}>
                <th scope="row" className="max-w-80 px-5 py-3 text-left font-normal">
                  <span className="flex items-center gap-2">
                    <span className="truncate font-medium">{user.email}</span>
                    {person.hasSecondFactor && (
                      <ShieldCheck
                        className="size-4 shrink-0 text-good"
                        role="img"
                        aria-label={t("admin.hasSecondFactor")}
                      />
                    )}
                  </span>
                  <span className="block truncate text-muted">{user.displayName}</span>
                  {isSuspended(person) && (
                    <span className="block truncate text-danger">
                      {t("admin.suspendedFor", { reason: person.suspendReason })}
                    </span>
                  )}
                </th>
                <td className="px-5">{t(`tierName.${Tier[person.tier]}`)}</td>
                <td className="px-5 whitespace-nowrap">{t(`roleName.${Role[user.role]}`)}</td>
                <td className="px-5 whitespace-nowrap tabular-nums">
                  {user.createTime && days.format(timestampDate(user.createTime))}
                </td>
                <td className="px-5 text-right">
                  {me?.role === Role.ADMINISTRATOR && (
                    <Button
                      aria-label={t("admin.manageOne", { email: user.email })}
                      onClick={() => onOpen(user.userId)}
                    >
                      {t("admin.manage")}
                    </Button>
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
