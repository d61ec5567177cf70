import { timestampFromDate } from "@bufbuild/protobuf/wkt";

const CENTS = 100;
const GIB = 2 ** 30;

/** What a form says of a contract, as the platform takes it. A term ends with its last day where the administrator is. */
export function contractOf(accountId: string, values: FormData) {
  const said = (name: string) => String(values.get(name) ?? "").trim();
  return {
    accountId,
    reference: said("reference"),
    endTime: timestampFromDate(new Date(`${said("end_time")}T23:59:59`)),
    credits: said("credits"),
    amountCents: Math.round(Number(said("amount_cents")) * CENTS),
    currency: said("currency"),
    storageBytes: BigInt(Math.round(Number(said("storage_bytes")) * GIB)),
    runningJobs: Number(said("running_jobs")),
    requestsPerSecond: Number(said("requests_per_second")),
  };
}
