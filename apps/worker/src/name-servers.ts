import { findings, type Finding } from '@impgem/kit';
import { readFile } from 'node:fs/promises';

/** Whether steps will find names: they ask the host's name servers unless the worker's config names others. */
export async function examineNameServers(
  configured: readonly string[],
  file = '/etc/resolv.conf',
): Promise<Finding[]> {
  const { ok, warn } = findings('DNS');
  const mend = 'set IMPGEM_RESOLVERS on the worker to addresses that containers reach';
  if (configured.length > 0) return [ok(`steps ask ${configured.join(', ')}`)];
  const text = await readFile(file, 'utf8').catch(() => '');
  const servers = [...text.matchAll(/^nameserver\s+(\S+)/gm)].flatMap(([, server]) => server ?? []);
  if (servers.length === 0) return [warn(`${file} names no name server`, mend)];
  // Loopback servers the engine replaces itself; those among the clouds' metadata addresses, Azure's for one, it hands
  // on, and steps cannot reach them.
  const far = servers.filter((server) => /^(169\.254\.|168\.63\.129\.16$|fe80:)/i.test(server));
  if (far.length === servers.length)
    return [warn(`steps cannot reach the host's name server ${far.join(', ')}`, mend)];
  return [ok(`steps ask what the host asks: ${servers.join(', ')}`)];
}
