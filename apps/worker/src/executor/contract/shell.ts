import type { Dialect } from './stage.js';

/** Quotes for a POSIX shell. */
export const quote = (text: string): string => `'${text.replaceAll("'", String.raw`'\''`)}'`;

const LINE = 'the quick brown fox jumps over the lazy dog';

const printed = (bytes: Buffer): string =>
  `printf '${[...bytes].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')}'`;

/** Steps as text for `sh`, with nothing that busybox and coreutils do not both have. */
export const shell: Omit<Dialect, 'unstartable'> = {
  exit: (code) => `exit ${code}`,
  write: (count) => ({
    run: `yes '${LINE}' | head -c ${count}`,
    bytes: Buffer.alloc(count, `${LINE}\n`),
  }),
  print: printed,
  bothStreams: (lines) =>
    `i=1; while [ $i -le ${lines} ]; do echo "out $i"; echo "err $i" >&2; i=$((i + 1)); done`,
  printEnv: (names) => `printf '%s\\n' ${names.map((name) => `"$${name}"`).join(' ')}`,
  dieBySignal9: () => 'kill -9 $$',
  wait: () => 'echo started; sleep 300',
  waitStubbornly: () => "trap '' TERM; echo started; while :; do sleep 1; done",
  leaveChild: () => '(sleep 1; echo late) & echo main',
  writeFile: (path, text) => `echo ${quote(text)} > ${quote(path)}`,
  link: (path, target) => `ln -s ${quote(target)} ${quote(path)}`,
  untilGo: (before, then) => `${printed(before)}; while [ ! -e go ]; do sleep 0.05; done; ${then}`,
  cat: (path) => `cat ${quote(path)}`,
};
