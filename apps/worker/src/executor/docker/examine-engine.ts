import { findings, FarmError, type Finding } from '@impgem/kit';
import type Docker from 'dockerode';
import { noEngine } from './engine.js';

/** The oldest version that is tried. */
const OLDEST = [20, 10];
/** Copies of whole layers instead of views of them. */
const SLOW_DRIVERS = ['vfs', 'devicemapper'];

interface EngineInfo {
  Driver: string;
  MemoryLimit: boolean;
  SwapLimit: boolean;
  PidsLimit: boolean;
  OSType: string;
  CgroupVersion?: string;
}

/** What a worker will meet in the engine. Never rejects. */
export async function examineEngine(engine: Docker, host: string | undefined): Promise<Finding[]> {
  const { ok, warn, fail } = findings('engine');
  let info: EngineInfo;
  let version: string;
  try {
    info = (await engine.info()) as EngineInfo;
    version = (await engine.version()).Version;
  } catch (error) {
    const [text = '', mend = ''] = said(noEngine(error, host));
    return [fail(text, mend)];
  }
  const found = [
    isOld(version)
      ? warn(`Docker Engine ${version} is older than ${OLDEST.join('.')}`, 'upgrade the engine')
      : ok(`Docker Engine ${version}, cgroup v${info.CgroupVersion ?? '1'}`),
    SLOW_DRIVERS.includes(info.Driver)
      ? warn(
          `storage driver ${info.Driver}: each container copies its image`,
          'let the engine keep its data on ext4 or xfs, where overlay2 works',
        )
      : ok(`storage driver ${info.Driver}`),
  ];
  if (host !== undefined && /^(tcp|http):/.test(host))
    found.push(
      warn(
        `${host} has no TLS: whoever reaches that port has all of the engine's machine`,
        'use its socket, or TLS (DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH)',
      ),
    );
  if (info.OSType !== 'linux')
    found.push(fail(`the engine runs ${info.OSType} containers`, 'switch it to Linux containers'));
  if (!info.MemoryLimit)
    found.push(
      fail(
        'the kernel cannot limit memory: one step can take all of it',
        'boot it with cgroup_enable=memory',
      ),
    );
  else if (!info.SwapLimit)
    found.push(
      warn(
        'the kernel cannot limit swap: a step may use that beyond its memory limit',
        'boot it with swapaccount=1, or without swap',
      ),
    );
  else found.push(ok('memory and swap of steps can be limited'));
  if (!info.PidsLimit)
    found.push(
      warn(
        'the kernel cannot limit the number of processes: a step can take all of them',
        'use a kernel with the pids cgroup',
      ),
    );
  return found;
}

function isOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [oldest = 0, oldestMinor = 0] = OLDEST;
  return major < oldest || (major === oldest && minor < oldestMinor);
}

/** What is wrong, and the mend behind the colon. */
function said({ message }: FarmError): [string, string] {
  const at = message.lastIndexOf('): ') + 1;
  return [message.slice(0, at), message.slice(at + 2)];
}
