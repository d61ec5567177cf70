/** Which pictures are selected, and where the last click was, from which Shift extends. */
export interface Selection {
  ids: ReadonlySet<string>;
  anchor?: string;
}

export const NOTHING: Selection = { ids: new Set() };

/** A click that selects or deselects one picture. */
export function toggled({ ids }: Selection, id: string): Selection {
  const next = new Set(ids);
  if (!next.delete(id)) next.add(id);
  return { ids: next, anchor: id };
}

/** A click with Shift: adds everything between the last click and this one, in the order of the list. */
export function extended(selection: Selection, id: string, listed: readonly string[]): Selection {
  const [from, to] = [listed.indexOf(selection.anchor ?? id), listed.indexOf(id)];
  if (from < 0 || to < 0) return toggled(selection, id);
  const between = listed.slice(Math.min(from, to), Math.max(from, to) + 1);
  return { ids: new Set([...selection.ids, ...between]), anchor: selection.anchor ?? id };
}
