/** Changes of pictures are sent one after the other, and lists are read behind them: what the person sees stays. */

let last: Promise<unknown> = Promise.resolve();

/** Sends a change once those before it have been answered: what takes another back must not overtake it. */
export function inOrder<T>(send: () => Promise<T>): Promise<T> {
  const sent = last.then(send);
  last = sent.catch(() => undefined);
  return sent;
}

/** Reads once every change has been answered, and again if another was made meanwhile: the answer may not know of it. */
export async function behindChanges<T>(read: () => Promise<T>): Promise<T> {
  for (;;) {
    const known = last;
    await known;
    const found = await read();
    if (known === last) return found;
  }
}
