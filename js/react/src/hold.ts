const holders = new WeakMap<object, number>();

/**
 * Counts who uses a thing. The last one's release takes effect one macrotask
 * late: StrictMode and a change of the tree release and hold again at once, and
 * that must not close a connection.
 */
export function hold(thing: object, open: () => void, close: () => void): () => void {
  holders.set(thing, (holders.get(thing) ?? 0) + 1);
  open();
  return () => {
    setTimeout(() => {
      const left = holders.get(thing)! - 1;
      holders.set(thing, left);
      if (!left) close();
    });
  };
}
