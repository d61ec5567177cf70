/** The rows of the grid: of tiles, and of the days above them where these are wanted. */

export interface TileRow {
  /** The place of its first picture in the list. */
  first: number;
  count: number;
}

export type Row = TileRow | { day: Date };

export function isTiles(row: Row): row is TileRow {
  return "first" in row;
}

/**
 * Returns the rows of a list, newest first. With `timeOf` each day begins a row of its own, below its heading; a day is one
 * where the person is. What has no time goes with what is before it.
 */
export function rowsOf(count: number, columns: number, timeOf?: (index: number) => Date | undefined): Row[] {
  const rows: Row[] = [];
  let open: TileRow | undefined;
  let day = "";
  for (let index = 0; index < count; index++) {
    const time = timeOf?.(index);
    const its = time && `${time.getFullYear()}-${time.getMonth()}-${time.getDate()}`;
    if (its && its !== day) {
      day = its;
      rows.push({ day: time });
      open = undefined;
    }
    if (!open || open.count === columns) {
      open = { first: index, count: 0 };
      rows.push(open);
    }
    open.count++;
  }
  return rows;
}
