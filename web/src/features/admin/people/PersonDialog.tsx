import { Link } from "@tanstack/react-router";
import { type FormEvent, type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { accounts, payments } from "@/api/admin";
import { Dialog } from "@/components/Dialog";
import { Button, Field, Input, Notice, Select } from "@/components/ui";
import { Role } from "@/gen/pingvas/common/v1/role_pb";
import { Tier } from "@/gen/pingvas/common/v1/tier_pb";
import { GrantKind } from "@/gen/pingvas/payment/v1/credit_service_pb";
import type { ManagedUser } from "@/gen/pingvas/user/v1/account_admin_service_pb";
import type { User } from "@/gen/pingvas/user/v1/user_pb";
import { namesOf } from "../names";
import { Refusal } from "../Refusal";
import { isSuspended, useChange } from "./people";

const MILLICREDITS = 1000;

/** What an administrator may do with one account. */
export function PersonDialog({ person, onClose }: { person: ManagedUser; onClose: () => void }) {
  const { t } = useTranslation();
  const { user } = person;
  if (!user) return null;
  return (
    <Dialog label={user.email} onClose={onClose}>
      <div className="flex flex-col divide-y divide-line *:py-4">
        <p className="pt-0! font-mono text-sm break-all text-muted">{user.accountId}</p>
        <GrantCredits accountId={user.accountId} />
        <TierAndRole person={person} user={user} />
        <Suspension person={person} user={user} />
        {person.hasSecondFactor && <SecondFactor user={user} />}
        <Link
          to="/admin/$section"
          params={{ section: "audit" }}
          search={{ find: user.accountId }}
          className="self-start pb-0! underline"
        >
          {t("admin.toAudit")}
        </Link>
      </div>
    </Dialog>
  );
}

function GrantCredits({ accountId }: { accountId: string }) {
  const { t } = useTranslation();
  const [credits, setCredits] = useState("");
  // One id for each grant that is meant: sending it again after a lost answer gives nothing twice.
  const [requestId, setRequestId] = useState(() => crypto.randomUUID());
  const grant = useChange((amount: number) =>
    payments.grantCredits({
      requestId: `administrator:${requestId}`,
      accountId,
      kind: GrantKind.PROMOTIONAL,
      amountMillicredits: BigInt(Math.round(amount * MILLICREDITS)),
    }),
  );
  function submit(event: FormEvent) {
    event.preventDefault();
    grant.mutate(Number(credits), { onSuccess: () => setRequestId(crypto.randomUUID()) });
  }
  return (
    <form className="flex flex-col gap-3" onSubmit={submit}>
      <Field label={t("admin.credits")} hint={t("admin.creditsHint")}>
        {(ids) => (
          <Row>
            <Input
              {...ids}
              type="number"
              required
              min={0.001}
              step={0.001}
              value={credits}
              onChange={(event) => {
                setCredits(event.target.value);
                setRequestId(crypto.randomUUID());
                grant.reset();
              }}
            />
            <Button type="submit" kind="primary" disabled={grant.isPending || grant.isSuccess}>
              {t("admin.grant")}
            </Button>
          </Row>
        )}
      </Field>
      <Refusal error={grant.error} />
      {grant.isSuccess && <Notice tone="plain">{t("admin.granted", { amount: credits })}</Notice>}
    </form>
  );
}

function TierAndRole({ person, user }: { person: ManagedUser; user: User }) {
  const { t } = useTranslation();
  const tier = useChange((next: Tier) => payments.setTier({ accountId: user.accountId, tier: next }));
  const role = useChange((next: Role) => accounts.setAccountRole({ userId: user.userId, role: next }));
  return (
    <div className="flex flex-col gap-3">
      <div className="grid grid-cols-2 gap-4">
        <Field label={t("admin.tier")}>
          {(ids) => (
            <Select
              {...ids}
              disabled={tier.isPending}
              value={Tier[tier.isPending ? tier.variables : person.tier]}
              onChange={(event) => tier.mutate(Tier[event.target.value as keyof typeof Tier])}
            >
              {namesOf(Tier).map((name) => (
                <option key={name} value={name}>
                  {t(`tierName.${name}`)}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label={t("admin.role")}>
          {(ids) => (
            <Select
              {...ids}
              disabled={role.isPending}
              value={Role[role.isPending ? role.variables : user.role]}
              onChange={(event) => role.mutate(Role[event.target.value as keyof typeof Role])}
            >
              {namesOf(Role).map((name) => (
                <option key={name} value={name}>
                  {t(`roleName.${name}`)}
                </option>
              ))}
            </Select>
          )}
        </Field>
      </div>
      <p className="text-sm text-muted">{t("admin.tierHint")}</p>
      <Refusal error={tier.error ?? role.error} />
    </div>
  );
}

function Suspension({ person, user }: { person: ManagedUser; user: User }) {
  const { t } = useTranslation();
  const [reason, setReason] = useState("");
  const suspend = useChange(() => accounts.suspendAccount({ userId: user.userId, reason }));
  const reinstate = useChange(() => accounts.reinstateAccount({ userId: user.userId }));
  if (isSuspended(person)) {
    return (
      <div className="flex flex-col gap-3">
        <Notice>{t("admin.suspendedFor", { reason: person.suspendReason })}</Notice>
        <Button
          className="self-start"
          disabled={reinstate.isPending}
          onClick={() => reinstate.mutate(undefined)}
        >
          {t("admin.reinstate")}
        </Button>
        <Refusal error={reinstate.error} />
      </div>
    );
  }
  return (
    <form
      className="flex flex-col gap-3"
      onSubmit={(event) => {
        event.preventDefault();
        suspend.mutate(undefined);
      }}
    >
      <Field label={t("admin.suspendReason")}>
        {(ids) => (
          <Row>
            <Input
              {...ids}
              required
              maxLength={500}
              value={reason}
              onChange={(event) => setReason(event.target.value)}
            />
            <Button type="submit" kind="danger" disabled={suspend.isPending}>
              {t("admin.suspend")}
            </Button>
          </Row>
        )}
      </Field>
      <p className="text-sm text-muted">{t("admin.suspendHint")}</p>
      <Refusal error={suspend.error} />
    </form>
  );
}

function SecondFactor({ user }: { user: User }) {
  const { t } = useTranslation();
  const [isSure, setSure] = useState(false);
  const reset = useChange(() => accounts.resetSecondFactor({ userId: user.userId }));
  return (
    <div className="flex flex-col items-start gap-3">
      <p className="text-sm text-muted">{t("admin.resetHint")}</p>
      <Button
        kind="danger"
        disabled={reset.isPending}
        onClick={() => (isSure ? reset.mutate(undefined) : setSure(true))}
      >
        {isSure ? t("admin.resetSure") : t("admin.reset")}
      </Button>
      <Refusal error={reset.error} />
    </div>
  );
}

function Row({ children }: { children: ReactNode }) {
  return <div className="flex items-center gap-3 [&>button]:shrink-0">{children}</div>;
}
