import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';

const HUB = 'https://index.docker.io/v1/';

interface DockerConfigFile {
  auths?: Record<string, { auth?: string; identitytoken?: string } | undefined>;
}

/** The registry that a reference names; Docker Hub's address when it names none. */
export function registryOf(reference: string): string {
  const first = reference.split('/')[0] ?? '';
  const named = reference.includes('/') && (/[.:]/.test(first) || first === 'localhost');
  return named ? first : HUB;
}

/**
 * What `docker login` left in the user's `config.json` (in `folder`, else `~/.docker`) for the registry of
 * `reference`, in the form of the engine's API. Credential helper programs are not asked.
 */
export async function credentialsFor(
  reference: string,
  folder: string | undefined,
): Promise<Record<string, string> | undefined> {
  const file = join(folder ?? join(homedir(), '.docker'), 'config.json');
  let config: DockerConfigFile;
  try {
    config = JSON.parse(await readFile(file, 'utf8')) as DockerConfigFile;
  } catch {
    // No file, or none that Docker could read either: an anonymous pull then says what is wrong.
    return undefined;
  }
  const serveraddress = registryOf(reference);
  const entry = config.auths?.[serveraddress] ?? config.auths?.[`https://${serveraddress}`];
  if (entry?.identitytoken) return { identitytoken: entry.identitytoken, serveraddress };
  if (!entry?.auth) return undefined;
  const [username = '', ...rest] = Buffer.from(entry.auth, 'base64').toString().split(':');
  return { username, password: rest.join(':'), serveraddress };
}
