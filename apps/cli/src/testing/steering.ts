// oxlint-disable no-control-regex -- control characters are what these look for

/** Finds what is more than letters, newline and tab. */
export const CONTROL =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/;

/** All that a terminal would obey in a text, but colours. Written apart from the code that takes it out. */
export const steering = (text: string): string[] =>
  text.replace(/\u001b\[[0-9;:]*m/g, '').match(new RegExp(CONTROL, 'g')) ?? [];

/** A text by letters, and by those sequences that a log on a terminal may have. */
export const signs = (text: string): string[] => text.match(/\u001b\[[\d;]*[mK]|[^]/gu) ?? [];
