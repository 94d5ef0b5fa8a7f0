import type { Terminal } from '../terminal.js';
import type { View } from './view.js';

/** One JSON object a line, for programs. */
export function jsonView({ json, full }: Terminal): View {
  const tell = (type: string, fields: object) => json({ type, ...fields });
  return {
    full,
    queued: (request) => tell('queued', { request }),
    build: (build) => tell('build', { build }),
    step: (build, step) => tell('step', { build: build.id, step }),
    piece: (build, { index }, piece) => tell('log', { build: build.id, ...piece, step: index }),
    stepEnd: (build, step) => tell('step.end', { build: build.id, step }),
    buildEnd: (build, again) => tell('build.end', { build, again }),
    note: (text) => tell('note', { text }),
  };
}
