/**
 * Text of others, made fit for a terminal. A terminal obeys what it is sent: titles, the clipboard, the cursor, the
 * order of letters. Of all that only newline and tab stay, and where colours belong to the text, they do.
 */
// oxlint-disable no-control-regex -- control characters are what these look for

/** Select Graphic Rendition, e.g. `ESC [ 1 ; 31 m`: colours and weights. */
const SGR = '\\u001b\\[[\\d;:]{0,100}m';
/** Control Sequence Introducer: parameters, intermediates, a last letter; it is cut where it breaks these rules. */
const CSI = '(?:\\u001b\\[|\\u009b)[\\u0030-\\u003f]*[\\u0020-\\u002f]*[\\u0040-\\u007e]?';
/** OSC, DCS, SOS, PM and APC, with their text up to its end on the same line; without an end, the beginning alone. */
const STRINGS =
  '(?:\\u001b[\\]PX^_]|[\\u0090\\u0098\\u009d-\\u009f])(?:[^\\n\\u0007\\u001b\\u0080-\\u009f]*(?:\\u0007|\\u001b\\\\|\\u009c))?';
/** Any other escape of two or three characters. */
const ESCAPE = '\\u001b[\\u0020-\\u002f]*[\\u0030-\\u007e]?';
/** C0 but newline and tab, DEL, C1, and what changes the direction of letters. */
const CONTROLS =
  '[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u202a-\\u202e\\u2066-\\u2069]';

const ALL = new RegExp(`(${SGR})|${CSI}|${STRINGS}|${ESCAPE}|${CONTROLS}`, 'g');
const ANY = new RegExp(CONTROLS);
const COLOURS = new RegExp(SGR, 'g');
const RESET = '\u001b[0m';
/** What sets the cursor back to the first column, like `\r`. */
const TO_THE_LEFT = /\u001b\[[01]?G/g;
/** Colours that are carried over from overwritten text: enough for any sane line. */
const MOST_CARRIED = 256;

/** Nothing of it is more than letters. */
export const plain = (text: string): string => (ANY.test(text) ? text.replace(ALL, '') : text);

/** Nothing of it steers a terminal; colours stay. */
export const harmless = (text: string): string =>
  ANY.test(text) ? text.replace(ALL, (_, colour: string | undefined) => colour ?? '') : text;

/** JSON says in ASCII what a terminal could take for a command. */
export const harmlessJson = (value: unknown): string =>
  JSON.stringify(value).replace(
    new RegExp(CONTROLS, 'g'),
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

/**
 * What a line that was written over again and again (`\r`, as progress does) shows in the end, with the colours that
 * are on by then. As the page does: what came last stands alone.
 */
export function lastState(line: string): string {
  const text = line.replace(TO_THE_LEFT, '\r').replace(/\r+$/, '');
  const at = text.lastIndexOf('\r');
  return at < 0 ? text : coloursOf(text.slice(0, at)) + text.slice(at + 1);
}

/** The same of a line that has not ended: what comes next may write over it still. */
export function settled(open: string): string {
  const text = open.replace(TO_THE_LEFT, '\r');
  const returns = text.endsWith('\r') ? '\r' : '';
  return text.includes('\r') ? lastState(text) + returns : text;
}

/** The colours that a text leaves on; `''` when it leaves none. */
export function coloursOf(text: string): string {
  const all = text.match(COLOURS) ?? [];
  const since = all.findLastIndex((one) => one === RESET || one === '\u001b[m');
  const on = all.slice(since + 1).join('');
  return on.length > MOST_CARRIED ? '' : on;
}
