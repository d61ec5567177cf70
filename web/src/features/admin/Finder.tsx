import { Search } from "lucide-react";
import { useEffect, useState } from "react";
import { Input } from "@/components/ui";

/** A field to find by; Enter finds. */
export function Finder({
  label,
  value,
  onFind,
}: {
  label: string;
  value: string;
  onFind: (text: string) => void;
}) {
  const [text, setText] = useState(value);
  // The address changes by the browser's own buttons as well.
  useEffect(() => setText(value), [value]);
  return (
    <form
      className="relative min-w-64 flex-1"
      onSubmit={(event) => {
        event.preventDefault();
        onFind(text.trim());
      }}
    >
      <Search className="absolute top-2.5 left-3 size-4 text-muted" aria-hidden />
      <Input
        type="search"
        className="h-9 pl-9!"
        aria-label={label}
        placeholder={label}
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
    </form>
  );
}
