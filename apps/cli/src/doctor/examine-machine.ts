import { findings, type Finding } from '@impgem/kit';
import { askProgram } from '../up/ask-program.js';
import { programOf } from '../programs.js';
import { VERSION } from '../version.js';

/** As `engines` in package.json has it. */
const OLDEST_NODE = [20, 19];

/** This machine: Node, and what a worker here would meet. Never rejects. */
export async function examineMachine(node = process.versions.node): Promise<Finding[]> {
  const { ok, fail } = findings('versions');
  const [major = 0, minor = 0] = node.split('.').map(Number);
  const [oldest = 0, oldestMinor = 0] = OLDEST_NODE;
  const isOld = major < oldest || (major === oldest && minor < oldestMinor);
  return [
    isOld
      ? fail(`Node ${node} is too old`, `install Node ${OLDEST_NODE.join('.')} or newer`)
      : ok(`Node ${node}, impgem ${VERSION}`),
    ...(await examineBy('worker', 'care')),
  ];
}

/** What another of our programs finds out; that it cannot is a finding too. */
export async function examineBy(
  app: 'master' | 'worker',
  name: string,
  env: Record<string, string> = {},
): Promise<Finding[]> {
  const { fail } = findings(`${app} program`);
  try {
    return await askProgram<Finding[]>(programOf(app, name), ['examine'], { env });
  } catch (error) {
    return [
      fail((error as Error).message, 'npm ci && npm run build, and see docs/configuration.md'),
    ];
  }
}
