import type { FormEvent, ReactNode } from "react";

/** The form in the middle of a page that needs no session. */
export function EntryCard({
  title,
  lead,
  onSubmit,
  children,
}: {
  title: string;
  lead?: string;
  onSubmit?: (form: FormData) => void;
  children: ReactNode;
}) {
  function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    onSubmit?.(new FormData(event.currentTarget));
  }

  return (
    <main className="flex h-full items-center justify-center p-6">
      <form
        onSubmit={submit}
        className="flex w-full max-w-sm flex-col gap-4 rounded-2xl border border-line bg-surface p-8"
      >
        <img src="/favicon.svg" alt="" className="size-12" />
        <h1 className="text-2xl font-semibold tracking-tight">{title}</h1>
        {lead && <p className="-mt-2 mb-2 text-muted">{lead}</p>}
        {children}
      </form>
    </main>
  );
}
