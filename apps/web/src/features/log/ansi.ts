import { AnsiUp } from 'ansi_up';

/** A run of text with one look. */
export interface Segment {
  text: string;
  /** `ansi-red-fg …`; the colours themselves stand in the style sheet, for light and dark. */
  className: string;
  /** Only what no class can say (24-bit colours); set through the CSSOM, which a strict CSP allows. */
  style: { color?: string; backgroundColor?: string };
  /** Target of a terminal hyperlink, http or https only. */
  href?: string;
}

const LOOKS = ['bold', 'faint', 'italic', 'underline'] as const;
const TAG =
  /<span(?: style="([^"]*)")?(?: class="([^"]*)")?>([^<]*)<\/span>|<a href="([^"]*)">([^<]*)<\/a>|([^<]+)/g;
const ESC = '\u001B';
const BEL = '\u0007';
/** Window titles and the like; hyperlinks (`8;`) stay, ansi_up reads them. */
const OPERATING_SYSTEM_COMMAND = new RegExp(
  `${ESC}\\](?!8;)[^${BEL}${ESC}]*(?:${BEL}|${ESC}\\\\)`,
  'g',
);
/** Those that are not tabs; the group keeps them when a text is split. */
const CONTROL = /((?:(?!\t)\p{Cc})+)/u;
const CONTROL_ONLY = /^(?:(?!\t)\p{Cc})+$/u;

/**
 * Splits a line into runs. ansi_up reads the codes and escapes the text; its HTML is taken apart again instead of
 * being put into the page, so that no output can become markup. Control characters show in caret notation.
 */
export function ansiSegments(line: string, carry = ''): Segment[] {
  const text = line.replaceAll(OPERATING_SYSTEM_COMMAND, '');
  if (carry === '' && !text.includes(ESC)) return withControls({ text, className: '', style: {} });
  const reader = new AnsiUp();
  reader.use_classes = true;
  // Names instead of declarations: they come back in the style attribute and become classes here.
  reader.boldStyle = 'bold';
  reader.faintStyle = 'faint';
  reader.italicStyle = 'italic';
  reader.underlineStyle = 'underline';
  return [...reader.ansi_to_html(carry + text).matchAll(TAG)].flatMap((match) =>
    withControls(segmentOf(match)),
  );
}

function segmentOf([, style, classes, text, href, label, plain]: RegExpMatchArray): Segment {
  if (href !== undefined)
    return {
      text: unescaped(label ?? ''),
      className: '',
      style: {},
      href: unescaped(href),
    };
  const segment: Segment = {
    text: unescaped(text ?? plain ?? ''),
    className: classes ?? '',
    style: {},
  };
  for (const part of style?.split(';') ?? []) {
    const [name, value] = part.split(':');
    if (name === 'color' && value) segment.style.color = value;
    else if (name === 'background-color' && value) segment.style.backgroundColor = value;
    else if (LOOKS.some((look) => look === name))
      segment.className = `${segment.className} ansi-${name}`.trim();
  }
  return segment;
}

const ENTITIES: Record<string, string> = {
  '&amp;': '&',
  '&lt;': '<',
  '&gt;': '>',
  '&quot;': '"',
  '&#x27;': "'",
};

function unescaped(html: string): string {
  return html.replaceAll(/&(?:amp|lt|gt|quot|#x27);/g, (entity) => ENTITIES[entity] ?? entity);
}

/** Control characters in caret notation (`^@` for NUL), each as a run of its own that does not look like text. */
function withControls(segment: Segment): Segment[] {
  return segment.text
    .split(CONTROL)
    .filter((text) => text !== '')
    .map((text) =>
      CONTROL_ONLY.test(text)
        ? { ...segment, text: caret(text), className: `${segment.className} ansi-control`.trim() }
        : { ...segment, text },
    );
}

function caret(characters: string): string {
  return Array.from(characters, (character) => {
    const code = character.codePointAt(0) ?? 0;
    return code < 0x80 ? `^${String.fromCodePoint(code ^ 0x40)}` : `<${code.toString(16)}>`;
  }).join('');
}
