import { cutText } from './cut-text.js';

/** At most `most` bytes of a text in UTF-8; a character is kept whole or left out. */
export function cutBytes(text: string, most: number): string {
  let bytes = 0;
  let end = 0;
  // A text of so few units is short enough whatever it is made of.
  if (text.length * 3 <= most) return text;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    if (bytes > most) return text.slice(0, end);
    end += character.length;
  }
  return text;
}

/**
 * A text of somebody else's in quotes, for a message: control characters and halves of surrogate pairs are escaped, and
 * what that makes of it is at most `most` UTF-16 units long, quotes included. What is left out shows as `…`.
 */
export function quoted(text: string, most = 200): string {
  const whole = JSON.stringify(cutText(text, most));
  if (whole.length <= most && text.length <= most) return whole;
  let shown = '"';
  for (const character of cutText(text, most)) {
    const escaped = JSON.stringify(character).slice(1, -1);
    if (shown.length + escaped.length > most - 2) break;
    shown += escaped;
  }
  return `${shown}…"`;
}

/** NUL, and halves of surrogate pairs: JSON can say them, PostgreSQL cannot store them. */
const UNSTORABLE = /\0|\p{Surrogate}/gu;

/** The text with U+FFFD for each character that no database can store. */
export function storableText(text: string): string {
  return text.replace(UNSTORABLE, '\uFFFD');
}
