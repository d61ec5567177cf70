/** Prices, amounts and days as a person reads them. */

import { type Timestamp, timestampDate } from "@bufbuild/protobuf/wkt";

export function priceText(cents: number, currency: string, language: string): string {
  const digits = cents % 100 === 0 ? 0 : 2;
  return (cents / 100).toLocaleString(language, {
    style: "currency",
    currency,
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

export function creditsText(amount: string, language: string): string {
  return Number(amount).toLocaleString(language, { maximumFractionDigits: 1 });
}

export function dayText(moment: Timestamp | undefined, language: string): string {
  return moment ? timestampDate(moment).toLocaleDateString(language, { dateStyle: "medium" }) : "";
}

export function momentText(moment: Timestamp | undefined, language: string): string {
  const options = { dateStyle: "medium", timeStyle: "short" } as const;
  return moment ? timestampDate(moment).toLocaleString(language, options) : "";
}
