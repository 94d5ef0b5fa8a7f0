import { describeExecutor } from './contract.js';
import type { Dialect } from './contract.js';
import { ScriptedExecutor } from './scripted/scripted-executor.js';

const dialect: Dialect = {
  exit: (code) => `exit ${code}`,
  write: (count) => ({
    run: `bytes ${count}`,
    bytes: Buffer.alloc(
      count,
      Uint8Array.from({ length: 256 }, (_, index) => index),
    ),
  }),
  print: (bytes) => `base64 stdout ${bytes.toString('base64')}`,
  bothStreams: (lines) =>
    Array.from({ length: lines }, (_, at) => `stdout out ${at + 1}\nstderr err ${at + 1}`).join(
      '\n',
    ),
  printEnv: (names) => names.map((name) => `env ${name}`).join('\n'),
  dieBySignal9: () => 'exit 137',
  outOfMemory: () => 'oom',
  wait: () => 'stdout started\nsleep 300000',
  waitStubbornly: () => 'ignore-term\nstdout started\nsleep 300000',
  leaveChild: () => 'orphan 200 late\nstdout main',
  writeFile: (path, text) => `write ${path} ${text}`,
  link: (path, target) => `link ${path} ${target}`,
  cat: (path) => `cat ${path}`,
  unstartable: () => ({ run: 'fail-start engine-error it does not want to' }),
};

describeExecutor({
  name: 'scripted',
  create: () => new ScriptedExecutor(),
  dialect,
  step: {},
  readersWaitMs: 500,
  remains: async () => [],
});
