/** What was done and can be taken back, step by step. */

export interface Step {
  undo: () => void;
  redo: () => void;
  /** What it keeps in memory. */
  sizeBytes: number;
}

const MOST_BYTES = 128 * 2 ** 20;

export class History {
  private readonly done: Step[] = [];
  private undone: Step[] = [];

  constructor(private readonly mostBytes = MOST_BYTES) {}

  get canUndo(): boolean {
    return this.done.length > 0;
  }

  get canRedo(): boolean {
    return this.undone.length > 0;
  }

  /** Remembers a step that was just done. What was taken back before can't be done again then. */
  add(step: Step): void {
    this.undone = [];
    this.done.push(step);
    let size = this.done.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    // The last step can always be taken back, however large it is.
    while (size > this.mostBytes && this.done.length > 1) size -= this.done.shift()?.sizeBytes ?? 0;
  }

  undo(): void {
    const step = this.done.pop();
    if (!step) return;
    step.undo();
    this.undone.push(step);
  }

  redo(): void {
    const step = this.undone.pop();
    if (!step) return;
    step.redo();
    this.done.push(step);
  }
}
