/** The providers at which people can sign in here: which there are, what they are called and what they look like. */

import { useQuery } from "@tanstack/react-query";
import { identities } from "@/api/entry";
import { Provider } from "@/gen/pingvas/user/v1/identity_pb";

/** Names of providers as addresses have them. */
export const NAMES = { [Provider.GOOGLE]: "google", [Provider.DISCORD]: "discord" } as const;
/** Trade names, which are the same in every language. */
export const LABELS = { google: "Google", discord: "Discord" } as const;

export type ProviderName = keyof typeof LABELS;

export function nameOf(provider: Provider): ProviderName | undefined {
  return provider === Provider.UNSPECIFIED ? undefined : NAMES[provider];
}

/** The providers of this deployment, and the address of the studio at which they know it. */
export function useProviders() {
  return useQuery({
    queryKey: ["providers"],
    queryFn: () => identities.getProviders({}),
    staleTime: Number.POSITIVE_INFINITY,
    select: ({ providers, studioUrl }) => ({
      names: providers.map(nameOf).filter((name) => name !== undefined),
      studioUrl,
    }),
  });
}

export function ProviderIcon({ name }: { name: ProviderName }) {
  return (
    <svg viewBox="0 0 24 24" className="size-4.5" aria-hidden>
      {MARKS[name]}
    </svg>
  );
}

const MARKS = {
  google: (
    <>
      <path
        fill="#4285F4"
        d="M22.56 12.25c0-.78-.07-1.53-.2-2.25H12v4.26h5.92c-.26 1.37-1.04 2.53-2.21 3.31v2.77h3.57c2.08-1.92 3.28-4.74 3.28-8.09z"
      />
      <path
        fill="#34A853"
        d="M12 23c2.97 0 5.46-.98 7.28-2.66l-3.57-2.77c-.98.66-2.23 1.06-3.71 1.06-2.86 0-5.29-1.93-6.16-4.53H2.18v2.84C3.99 20.53 7.7 23 12 23z"
      />
      <path
        fill="#FBBC05"
        d="M5.84 14.09c-.22-.66-.35-1.36-.35-2.09s.13-1.43.35-2.09V7.07H2.18C1.43 8.55 1 10.22 1 12s.43 3.45 1.18 4.93l3.66-2.84z"
      />
      <path
        fill="#EA4335"
        d="M12 5.38c1.62 0 3.06.56 4.21 1.64l3.15-3.15C17.45 2.09 14.97 1 12 1 7.7 1 3.99 3.47 2.18 7.07l3.66 2.84c.87-2.6 3.3-4.53 6.16-4.53z"
      />
    </>
  ),
  discord: (
    <path
      fill="#5865F2"
      d="M20.32 4.37a19.8 19.8 0 0 0-4.89-1.52.07.07 0 0 0-.08.04c-.21.38-.44.87-.6 1.25a18.3 18.3 0 0 0-5.5 0c-.16-.4-.4-.88-.61-1.25a.08.08 0 0 0-.08-.04 19.7 19.7 0 0 0-4.88 1.52.07.07 0 0 0-.03.02C.53 9.05-.32 13.58.1 18.06a.08.08 0 0 0 .03.05 19.9 19.9 0 0 0 6 3.03.08.08 0 0 0 .08-.02c.46-.63.87-1.3 1.22-2a.08.08 0 0 0-.04-.1 13.1 13.1 0 0 1-1.87-.9.08.08 0 0 1 0-.12l.36-.3a.07.07 0 0 1 .08 0 14.2 14.2 0 0 0 12.06 0 .07.07 0 0 1 .08 0l.37.3a.08.08 0 0 1 0 .12c-.6.35-1.22.65-1.88.9a.08.08 0 0 0-.04.1c.36.7.78 1.36 1.23 2a.08.08 0 0 0 .08.02 19.8 19.8 0 0 0 6-3.03.08.08 0 0 0 .04-.05c.5-5.18-.84-9.68-3.55-13.66a.06.06 0 0 0-.03-.03zM8.02 15.33c-1.18 0-2.16-1.08-2.16-2.42 0-1.33.96-2.42 2.16-2.42 1.21 0 2.18 1.1 2.16 2.42 0 1.34-.96 2.42-2.16 2.42zm7.97 0c-1.18 0-2.15-1.08-2.15-2.42 0-1.33.95-2.42 2.15-2.42 1.22 0 2.18 1.1 2.16 2.42 0 1.34-.94 2.42-2.16 2.42z"
    />
  ),
};
