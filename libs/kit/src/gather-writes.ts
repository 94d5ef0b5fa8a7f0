/** The part of a stream that this needs. */
export interface Corkable {
  write: (...args: never[]) => boolean;
  cork(): void;
  uncork(): void;
}

/**
 * Lets everything that is written to the stream in one turn go out at its end, in one system call: each call wakes the
 * peer, which costs more than the bytes do. `defer` runs something at the end of the turn, as `process.nextTick` does.
 * Returns the stream.
 */
export function gatherWrites<S extends Corkable>(stream: S, defer: (run: () => void) => void): S {
  const write = stream.write.bind(stream);
  let gathering = false;
  stream.write = (...args) => {
    if (!gathering) {
      gathering = true;
      stream.cork();
      defer(() => {
        gathering = false;
        stream.uncork();
      });
    }
    return write(...args);
  };
  return stream;
}
