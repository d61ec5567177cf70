import clsx from "clsx";
import { CircleUserRound } from "lucide-react";
import { useEffect, useState } from "react";

/** The picture that stands for somebody, or a symbol for those who have none. */
export function Avatar({ content, className }: { content: Uint8Array | undefined; className?: string }) {
  const [address, setAddress] = useState<string>();
  useEffect(() => {
    if (!content?.length) return setAddress(undefined);
    const made = URL.createObjectURL(new Blob([new Uint8Array(content)], { type: "image/webp" }));
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [content]);
  if (!address) return <CircleUserRound className={className} aria-hidden />;
  return <img src={address} alt="" className={clsx("rounded-full object-cover", className)} />;
}
