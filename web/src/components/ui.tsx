/** The few controls that everything on the page is made of. */

import clsx from "clsx";
import type { ComponentProps, ReactNode } from "react";
import { useId } from "react";

type Kind = "primary" | "plain" | "ghost" | "danger";

const KINDS: Record<Kind, string> = {
  primary: "bg-accent text-accent-ink hover:brightness-110",
  plain: "bg-raised text-ink hover:brightness-105 border border-line",
  ghost: "text-muted hover:text-ink hover:bg-raised",
  danger: "text-danger hover:bg-raised",
};

export function Button({ kind = "plain", className, ...rest }: ComponentProps<"button"> & { kind?: Kind }) {
  return (
    <button
      type="button"
      className={clsx(
        "inline-flex h-9 items-center justify-center gap-2 rounded-lg px-3.5 font-medium transition",
        "disabled:cursor-not-allowed disabled:opacity-50",
        KINDS[kind],
        className,
      )}
      {...rest}
    />
  );
}

/** A button that adds the next page of a listing; it is there while there is one. */
export function MoreButton({
  listing,
  children,
}: {
  listing: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => Promise<unknown> };
  children: ReactNode;
}) {
  if (!listing.hasNextPage) return null;
  return (
    <Button
      className="self-start"
      disabled={listing.isFetchingNextPage}
      onClick={() => void listing.fetchNextPage()}
    >
      {children}
    </Button>
  );
}

/** A button that shows an icon only; its label is for screen readers and for the pointer that rests on it. */
export function IconButton({
  label,
  className,
  ...rest
}: Omit<ComponentProps<typeof Button>, "aria-label" | "title"> & { label: string }) {
  return (
    <Button
      kind="ghost"
      aria-label={label}
      title={label}
      className={clsx("w-9 px-0!", className)}
      {...rest}
    />
  );
}

const INPUT =
  "w-full rounded-lg border border-line bg-surface px-3 py-2 text-ink placeholder:text-muted aria-invalid:border-danger";

export function Field({
  label,
  hint,
  problem,
  children,
}: {
  label: string;
  hint?: ReactNode;
  problem?: string | undefined;
  children: (ids: { id: string; "aria-invalid": boolean; "aria-describedby": string }) => ReactNode;
}) {
  const id = useId();
  const noteId = `${id}-note`;
  return (
    <div className="flex flex-col gap-1.5">
      <div className="flex items-baseline justify-between gap-2">
        <label htmlFor={id} className="text-sm font-medium text-muted">
          {label}
        </label>
        {hint && <span className="text-xs text-muted tabular-nums">{hint}</span>}
      </div>
      {children({ id, "aria-invalid": problem !== undefined, "aria-describedby": noteId })}
      {problem && (
        <p id={noteId} role="alert" className="text-sm text-danger">
          {problem}
        </p>
      )}
    </div>
  );
}

export function Input({ className, ...rest }: ComponentProps<"input">) {
  return <input className={clsx(INPUT, className)} {...rest} />;
}

export function TextArea({ className, ...rest }: ComponentProps<"textarea">) {
  return <textarea className={clsx(INPUT, "resize-y leading-relaxed", className)} {...rest} />;
}

export function Select({ className, ...rest }: ComponentProps<"select">) {
  return <select className={clsx(INPUT, "h-9 py-0", className)} {...rest} />;
}

export function Notice({ children, tone = "danger" }: { children: ReactNode; tone?: "danger" | "plain" }) {
  return (
    <p
      role={tone === "danger" ? "alert" : "status"}
      className={clsx(
        "rounded-lg border border-line bg-raised px-3 py-2 text-sm",
        tone === "danger" && "border-danger/50 text-danger",
      )}
    >
      {children}
    </p>
  );
}

export function Empty({ icon, title, children }: { icon: ReactNode; title: string; children?: ReactNode }) {
  return (
    <div className="flex h-full flex-col items-center justify-center gap-3 p-8 text-center text-muted">
      <div className="rounded-2xl bg-raised p-4">{icon}</div>
      <p className="text-lg font-medium text-ink">{title}</p>
      {children}
    </div>
  );
}
