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
  reopened: () => [
    {
      run: 'echo a1; echo e1 >/dev/stderr; echo e2 >/dev/stderr; echo a2 >/dev/stdout; echo a3; echo e3 >&2',
      stdout: 'a1\na2\na3\n',
      stderr: 'e1\ne2\ne3\n',
    },
    {
      run: 'seq 1 5 | tee /dev/stderr | tail -1; seq 6 9 | tee /dev/stderr | tail -1; echo end >&2',
      stdout: '5\n9\n',
      stderr: `${[1, 2, 3, 4, 5, 6, 7, 8, 9].join('\n')}\nend\n`,
    },
    {
      run: 'echo one; : > /proc/self/fd/1; echo two; echo three | dd of=/dev/stdout 2>/dev/null; echo four >> /dev/stdout',
      stdout: 'one\ntwo\nthree\nfour\n',
      stderr: '',
    },
    {
      run: 'echo one; truncate -s 0 /dev/stdout 2>/dev/null || true; exec 2>/dev/stdout; echo two >&2; echo three',
      stdout: 'one\ntwo\nthree\n',
      stderr: '',
    },
    {
      run: `exec 3>/dev/stdout; echo one >&3; (echo two > /dev/fd/3); sh -c 'echo three >/dev/stdout'; echo four`,
      stdout: 'one\ntwo\nthree\nfour\n',
      stderr: '',
    },
  ],
  cat: (path) => `cat ${quote(path)}`,
  look: (path) => `stat -c %Y ${quote(path)}; readlink ${quote(path)} || true`,
};
