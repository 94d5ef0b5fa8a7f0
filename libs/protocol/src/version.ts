/** The wire's version: major, then minor. A minor adds; a major breaks. */
export const PROTOCOL_VERSION = { major: 1, minor: 1 } as const;

const PREFIX = 'impgem.worker.v';
/** So much of an offered version is told again. */
const VERSION_CHARS = 12;

/** The WebSocket subprotocol that says which version a worker speaks, e.g. `impgem.worker.v1.1`. */
export function subprotocol(version: { major: number; minor: number } = PROTOCOL_VERSION): string {
  return `${PREFIX}${version.major}.${version.minor}`;
}

/**
 * The first offered subprotocol that a master of this version serves: the same major, and the same minor or
 * one lower. Absent when there is none; the master then closes with `CLOSE.version` and the advice.
 */
export function chooseSubprotocol(
  offered: Iterable<string>,
  own: { major: number; minor: number } = PROTOCOL_VERSION,
): string | undefined {
  for (const name of offered) {
    const version = /^impgem\.worker\.v(\d+)\.(\d+)$/.exec(name);
    if (!version) continue;
    const behind = own.minor - Number(version[2]);
    if (Number(version[1]) === own.major && (behind === 0 || behind === 1)) return name;
  }
  return undefined;
}

/** What to upgrade when no version fits. Short, whatever was offered: it is the reason of a close frame. */
export function versionAdvice(
  offered: Iterable<string>,
  own: { major: number; minor: number } = PROTOCOL_VERSION,
): string {
  const names = [...offered].filter((name) => name.startsWith(PREFIX));
  const ours = `${own.major}.${own.minor}`;
  if (names.length === 0)
    return `this master speaks worker protocol ${ours}; the peer offered none`;
  const newest =
    names
      .map((name) => name.slice(PREFIX.length, PREFIX.length + VERSION_CHARS))
      .sort()
      .at(-1) ?? '';
  const [major = 0, minor = 0] = newest.split('.').map(Number);
  const workerIsNewer = major > own.major || (major === own.major && minor > own.minor);
  return `worker speaks protocol ${newest}, master ${ours}: upgrade the ${workerIsNewer ? 'master' : 'worker'}`;
}
