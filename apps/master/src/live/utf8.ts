/**
 * Bytes to text, piece by piece: a character that is cut by the border of a piece comes with the piece that
 * completes it; invalid bytes become U+FFFD. One decoder per stream of a log, since characters of one stream
 * may be torn apart by bytes of another.
 */
export class Utf8Stream {
  // A byte order mark in the middle of output is output.
  private readonly decoder = new TextDecoder('utf-8', { ignoreBOM: true });

  /** `before` is what stands before the first piece: an unfinished character at its end belongs to the text. */
  constructor(before: Uint8Array = new Uint8Array()) {
    const tail = unfinished(before);
    if (tail.length > 0) this.decoder.decode(tail, { stream: true });
  }

  decode(bytes: Uint8Array): string {
    return this.decoder.decode(bytes, { stream: true });
  }

  /** What is left when nothing more comes: U+FFFD for an unfinished character, else nothing. */
  end(): string {
    return this.decoder.decode();
  }
}

/** The beginning of a character at the end of `bytes`, of at most three bytes; empty when there is none. */
export function unfinished(bytes: Uint8Array): Uint8Array {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0;
    if (byte < 0x80) break;
    if (byte >= 0xc0) {
      const tail = bytes.subarray(bytes.length - back);
      return startsCharacter(tail) ? tail : new Uint8Array();
    }
  }
  return new Uint8Array();
}

/** Whether these bytes are a true beginning of a well-formed character: more bytes could complete it. */
function startsCharacter(bytes: Uint8Array): boolean {
  const probe = new TextDecoder('utf-8', { ignoreBOM: true });
  return probe.decode(bytes, { stream: true }) === '';
}
