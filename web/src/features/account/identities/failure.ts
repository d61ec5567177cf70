/** How the bridge tells the page that signing in at a provider failed: names of reasons in the address, never sentences. */

import { LABELS, type ProviderName } from "./providers";

export interface FailureSearch {
  failure?: string;
  provider?: ProviderName;
  cause?: string;
  /** The first step succeeded, and the second one is next. */
  step?: "code";
}

/** Takes what is known of an address' parameters and drops the rest: anybody can write an address. */
export function failureSearch(search: Record<string, unknown>): FailureSearch {
  const { failure, provider, cause, step } = search;
  return {
    ...(isName(failure) && { failure }),
    ...(isProvider(provider) && { provider }),
    ...(isName(cause) && { cause }),
    ...(step === "code" && { step }),
  };
}

/** The key of the words for a failure, the most precise first; the last is there always. */
export function failureKeys({ failure, cause }: FailureSearch): string[] {
  return [cause ?? "", failure ?? "", "other"].filter(Boolean);
}

function isName(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z_]{1,40}$/.test(value);
}

function isProvider(value: unknown): value is ProviderName {
  return typeof value === "string" && Object.hasOwn(LABELS, value);
}
