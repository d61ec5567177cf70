const UNITS = [
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
] as const;

/** The time since a moment in its largest unit, such as `3 min`; a clock that is ahead makes it 0 s. */
export function elapsed(since: Date, now: Date, language: string): string {
  const seconds = Math.max(0, (now.getTime() - since.getTime()) / 1000);
  const [unit, length] = UNITS.find(([, each]) => seconds >= each) ?? (["second", 1] as const);
  const format = new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "short" });
  return format.format(Math.floor(seconds / length));
}
