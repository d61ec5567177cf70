import type { ReactNode } from "react";

export function Section({ title, hint, children }: { title: string; hint?: string; children: ReactNode }) {
  return (
    <section className="flex flex-col gap-3">
      <h3 className="text-lg font-semibold">{title}</h3>
      {hint && <p className="-mt-2 text-sm text-muted">{hint}</p>}
      {children}
    </section>
  );
}
