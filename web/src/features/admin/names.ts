/** The names of an enum's values, in their order and without the one that means none. */
export function namesOf(values: Record<string, string | number>): string[] {
  return Object.keys(values).filter((name) => Number.isNaN(Number(name)) && values[name] !== 0);
}
