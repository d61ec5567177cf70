import { useMutation } from "@tanstack/react-query";
import { DownloadIcon } from "lucide-react";
import type { ReactNode } from "react";
import { Button } from "@/components/ui";

/** Makes a file of a text that has to be fetched first, and saves it. */
export function Download({
  name,
  text,
  children,
}: {
  name: string;
  text: () => Promise<string>;
  children: ReactNode;
}) {
  const { mutate, isPending } = useMutation({
    mutationFn: text,
    onSuccess: (found) => save(name, found),
  });
  return (
    <Button kind="ghost" className="self-start" disabled={isPending} onClick={() => mutate()}>
      <DownloadIcon className="size-4" />
      {children}
    </Button>
  );
}

function save(name: string, text: string): void {
  // Spreadsheets take a text without this mark for one in the system's own encoding.
  const url = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
