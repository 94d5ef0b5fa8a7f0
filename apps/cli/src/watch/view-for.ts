import type { Terminal } from '../terminal.js';
import { jsonView } from './json-view.js';
import { textView } from './text-view.js';
import type { View } from './view.js';

export const viewFor = (terminal: Terminal, json: boolean): View =>
  json ? jsonView(terminal) : textView(terminal);
