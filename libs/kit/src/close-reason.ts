/** RFC 6455, section 5.5: a control frame carries 125 bytes, two of which are the code. */
const MOST_BYTES = 123;

/**
 * The reason as a WebSocket's close frame can carry it: at most 123 bytes of UTF-8, cut at a character's border. Libraries throw
 * at a longer one. Half of a surrogate pair becomes U+FFFD.
 */
export function closeReason(text: string): string {
  let bytes = 0;
  let reason = '';
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (bytes > MOST_BYTES) break;
    reason += code >= 0xd800 && code <= 0xdfff ? '\uFFFD' : character;
  }
  return reason;
}
