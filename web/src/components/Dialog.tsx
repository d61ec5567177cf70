import clsx from "clsx";
import { type ReactNode, useLayoutEffect, useRef } from "react";

/** A question or an answer in front of the page; Escape closes it. */
export function Dialog({
  label,
  onClose,
  isWide = false,
  children,
}: {
  label: string;
  onClose: () => void;
  isWide?: boolean;
  children: ReactNode;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog
      ref={dialog}
      aria-label={label}
      onClose={onClose}
      className={clsx(
        "m-auto max-h-[92dvh] overflow-y-auto rounded-2xl border border-line bg-surface p-5",
        isWide ? "w-[94vw]" : "w-[min(36rem,94vw)]",
      )}
    >
      <h2 className="mb-4 font-semibold">{label}</h2>
      {children}
    </dialog>
  );
}
