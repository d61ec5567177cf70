import { useEffect, useRef, useState } from "react";

/**
 * A value that the address keeps, ahead of the address: what a person does next means what they did last, even if the router
 * hasn't got to it yet. Setting it changes it here alone; whoever sets it tells the address too.
 */
export function useAhead<T extends string | undefined>(address: T): [T, (value: T) => void] {
  const [value, setValue] = useState(address);
  const awaited = useRef<{ value: T }>(undefined);
  useEffect(() => {
    // What the address was told before the last one arrives as well.
    if (awaited.current && awaited.current.value !== address) return;
    awaited.current = undefined;
    setValue(address);
  }, [address]);
  return [
    value,
    (next) => {
      awaited.current = next === address ? undefined : { value: next };
      setValue(next);
    },
  ];
}
