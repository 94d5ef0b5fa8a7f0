/** So far back the cut looks for the beginning of a character; longer ones exist only to annoy. */
const LONGEST = 64;

let segmenter: Intl.Segmenter | undefined;

/**
 * The beginning of a text, at most `max` UTF-16 units long (`ending` included, which is put where something was cut
 * off), never ending within a character: neither half a surrogate pair, which no database stores, nor half of what
 * people see as one character (a letter and its accents, a flag, a family).
 */
export function cutText(text: string, max: number, ending = ''): string {
  if (text.length <= max) return text;
  return text.slice(0, boundary(text, Math.max(0, max - ending.length))) + ending;
}

/** The end of a text, at most `max` UTF-16 units long, never beginning within a character. */
export function cutStart(text: string, max: number): string {
  if (text.length <= max) return text;
  const at = text.length - max;
  const whole = boundary(text, at);
  if (whole === at) return text.slice(at);
  const size = characterAt(text, whole);
  return text.slice(size > LONGEST ? codePoint(text, at) : whole + size);
}

/** The last place at or before `at` where a character begins. */
function boundary(text: string, at: number): number {
  if (at === 0 || plain(text, at)) return at;
  const from = codePoint(text, Math.max(0, at - LONGEST));
  segmenter ??= new Intl.Segmenter();
  const around = segmenter.segment(text.slice(from, at + LONGEST)).containing(at - from);
  const found = around === undefined ? at : from + around.index;
  // a character longer than that is cut between its code points
  return found === from && from > 0 ? codePoint(text, at) : found;
}

/** Between two characters of ASCII, which is nearly always so, nothing needs to be looked up. */
function plain(text: string, at: number): boolean {
  const [before, after] = [text.charCodeAt(at - 1), text.charCodeAt(at)];
  return before < 0x7f && after < 0x7f && before !== 0x0d;
}

function characterAt(text: string, at: number): number {
  segmenter ??= new Intl.Segmenter();
  return segmenter.segment(text.slice(at, at + 2 * LONGEST)).containing(0)?.segment.length ?? 1;
}

/** The place itself, or the one before it when it is between the halves of a pair. */
function codePoint(text: string, at: number): number {
  const unit = text.charCodeAt(at);
  const before = text.charCodeAt(at - 1);
  const within = unit >= 0xdc00 && unit <= 0xdfff && before >= 0xd800 && before <= 0xdbff;
  return within ? at - 1 : at;
}
