import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import {
  every,
  ProblemError,
  quarantineText,
  type About,
  type Client,
  type Worker,
} from '@impgem/client';
import { findings, type Finding } from '@impgem/kit';
import type { Connection } from '../cli.js';
import { VERSION } from '../version.js';

const PATIENCE_MS = 10_000;
/** Of clocks; above it tokens seem expired, and certificates not yet valid. */
const SKEW_MS = { warn: 5_000, fail: 60_000 };

interface Health {
  status: string;
  state: string;
  database: 'up' | 'down';
  problems?: string[];
}

/** The master as it is seen from here. `answers` says whether one was found. Never rejects. */
export async function examineMaster(
  connection: Connection,
): Promise<{ found: Finding[]; answers: boolean }> {
  const { url } = connection.target;
  const names = await examineName(new URL(url).hostname);
  const begun = Date.now();
  let answer: Response;
  let health: Health;
  try {
    answer = await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(PATIENCE_MS) });
    health = (await answer.json()) as Health;
    if (typeof health.state !== 'string') throw new SyntaxError('this is no health');
  } catch (error) {
    return { found: [...names, unreachable(url, error)], answers: false };
  }
  const clock = examineClock(answer.headers.get('date'), begun, Date.now());
  const found = [...names, ...clock, ...examineHealth(url, health)];
  if (health.database === 'down') return { found, answers: true };
  return { found: [...found, ...(await examineFarm(connection))], answers: true };
}

async function examineName(host: string): Promise<Finding[]> {
  const { ok, fail } = findings('DNS');
  const bare = host.replace(/^\[|\]$/g, '');
  if (isIP(bare) > 0) return [];
  try {
    const { address } = await lookup(bare);
    return [ok(`${bare} is ${address}`)];
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    return [
      fail(
        `the name ${bare} is not found (${code})`,
        'check its spelling, and the name servers in /etc/resolv.conf; an address will do too',
      ),
    ];
  }
}

/** In whole seconds, as HTTP tells it; what the way took is no skew. */
function examineClock(date: string | null, begun: number, ended: number): Finding[] {
  const { ok, warn, fail } = findings('clock');
  const at = date === null ? Number.NaN : Date.parse(date);
  if (Number.isNaN(at)) return [];
  const late = begun - (at + 1000);
  const early = at - ended;
  const skew = Math.max(0, late, early);
  const text = `this clock and the master's are ${(skew / 1000).toFixed(0)} s apart`;
  const mend = 'run a time service (systemd-timesyncd, chrony) on both machines';
  if (skew > SKEW_MS.fail) return [fail(text, mend)];
  if (skew > SKEW_MS.warn) return [warn(text, mend)];
  return [ok("this clock and the master's agree")];
}

function examineHealth(url: string, { status, state, database, problems = [] }: Health): Finding[] {
  const { ok, warn, fail } = findings('master');
  const mend = 'see its log; what is written there says more';
  if (status === 'ok')
    return [
      ok(`${url} answers, and serves`),
      ...problems.map((text) => warn(text, 'make room, or lower IMPGEM_MASTER_MIN_FREE')),
    ];
  const why = problems.length > 0 ? problems : [`its database is ${database}`];
  return why.map((text) =>
    fail(
      `${url} answers, but is ${state} and does not serve: ${text}`,
      database === 'down'
        ? 'start the database, or make room on its disk; the master goes on by itself'
        : mend,
    ),
  );
}

/** Of Node, when the certificate is not to its liking. */
const TLS: Record<string, [string, string]> = {
  DEPTH_ZERO_SELF_SIGNED_CERT: ['its certificate is signed by nobody known', 'own'],
  SELF_SIGNED_CERT_IN_CHAIN: [
    'its certificate is signed by an authority that is not known here',
    'own',
  ],
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: [
    'its certificate is signed by an authority that is not known here',
    'own',
  ],
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: [
    'its certificate is signed by an authority that is not known here',
    'own',
  ],
  CERT_HAS_EXPIRED: [
    'its certificate has expired',
    'renew it, and check the clocks of both machines',
  ],
  CERT_NOT_YET_VALID: ['its certificate is not valid yet', 'check the clocks of both machines'],
  ERR_TLS_CERT_ALTNAME_INVALID: [
    'its certificate is for another name',
    'use the name that stands in it, or get one for this name',
  ],
};
const OWN_AUTHORITY =
  'NODE_EXTRA_CA_CERTS=ca.pem names an own authority for this program, IMPGEM_CA_FILE=ca.pem for workers';

function unreachable(url: string, error: unknown): Finding {
  const { fail } = findings('master');
  const code = codeOf(error);
  const tls = TLS[code];
  if (tls) return fail(`${url}: ${tls[0]} (${code})`, tls[1] === 'own' ? OWN_AUTHORITY : tls[1]);
  if ((error as Error).name === 'SyntaxError')
    return fail(
      `what answers at ${url} is no master`,
      'set --url or IMPGEM_URL to the address of the master; behind a proxy, let it pass /health and /api on',
    );
  if (code === 'ECONNREFUSED')
    return fail(
      `nobody listens at ${url}`,
      'start a master (impgem up, impgem master), or set --url or IMPGEM_URL to where it is',
    );
  const isTls = code === 'EPROTO' || code === 'ERR_SSL_WRONG_VERSION_NUMBER';
  if (isTls || code === 'UND_ERR_SOCKET' || code === 'ECONNRESET')
    return fail(
      `${url} ends the connection at once (${code})`,
      `is it ${url.startsWith('https:') ? 'http' : 'https'}:// there?`,
    );
  return fail(
    `${url} does not answer (${code === 'Error' ? wordsOf(error) : code})`,
    'check the address, the network and firewalls on the way; curl -v shows how far one comes',
  );
}

function wordsOf(error: unknown): string {
  const { cause, message } = error as { cause?: Error; message: string };
  return cause?.message ?? message;
}

/** `fetch` hides the reason in a cause, and that may be several. */
function codeOf(error: unknown): string {
  const { code, cause, errors, name } = error as {
    code?: unknown;
    cause?: unknown;
    errors?: unknown[];
    name?: string;
  };
  if (typeof code === 'string') return code;
  if (cause !== undefined) return codeOf(cause);
  return errors?.[0] === undefined ? (name ?? 'error') : codeOf(errors[0]);
}

/** What is told to those who have a token. */
async function examineFarm({ client, target }: Connection): Promise<Finding[]> {
  const token = findings('token');
  let about: About;
  const found: Finding[] = [];
  try {
    const { actor, scopes } = await client.session.get();
    found.push(token.ok(`valid: ${actor}, ${scopes.join(', ')} (from ${target.from})`));
    about = await client.about();
  } catch (error) {
    return [...found, token.fail(...refusal(error, target.token, target.from))];
  }
  found.push(...examineVersion(about));
  const { version, embedded } = about.database;
  found.push(
    findings('database').ok(
      `answers: PostgreSQL ${version}, ${embedded ? "the master's own" : 'of DATABASE_URL'}; its schema is the master's`,
    ),
  );
  try {
    return [...found, ...(await examineWorkers(client, about.version))];
  } catch (error) {
    return [
      ...found,
      findings('workers').fail((error as Error).message, 'see the log of the master'),
    ];
  }
}

function refusal(error: unknown, token: string | undefined, from: string): [string, string] {
  const { message } = error as Error;
  if (!(error instanceof ProblemError) || (error.status !== 401 && error.status !== 403))
    return [message, 'see the log of the master'];
  if (token === undefined)
    return [
      'none was given, so that nothing more can be looked at',
      'set --token or IMPGEM_TOKEN; an admin makes one with: impgem token create NAME --scope read',
    ];
  return [
    `the one from ${from} is refused: ${message}`,
    "an admin makes another with: impgem token create NAME; the first admin token is in the file admin-token of the master's data folder",
  ];
}

function examineVersion({ version }: About): Finding[] {
  const { ok, warn } = findings('versions');
  if (version === VERSION) return [ok(`master ${version}`)];
  return [
    warn(
      `the master is ${version}, this is ${VERSION}`,
      'upgrade the older of the two (docs/upgrading.md)',
    ),
  ];
}

/** What each state of a worker means for the farm; those left out are well. */
const STATES: Partial<Record<Worker['state'], string>> = {
  lost: 'see whether its machine and process run; its builds go to others',
  suspect: 'it was silent for a moment; look again',
  offline: 'start it, or forget it: impgem workers revoke NAME',
  draining: 'it takes nothing new; start it again when it has ended',
};

async function examineWorkers(client: Client, master: string): Promise<Finding[]> {
  const { ok, warn } = findings('workers');
  const found: Finding[] = [];
  let online = 0;
  for await (const worker of every((after) =>
    client.workers.list(after === undefined ? {} : { after }),
  )) {
    const { name, state, lowDisk, version, quarantine } = worker;
    if (state === 'online') online += 1;
    if (state === 'low-disk' && lowDisk !== null) {
      const at = lowDisk.lastIndexOf(': ');
      found.push(warn(`${name} takes no work: ${lowDisk.slice(0, at)}`, lowDisk.slice(at + 2)));
    }
    if (quarantine)
      found.push(
        warn(
          `${name} ${quarantineText(quarantine)}`,
          `mend its machine; then: impgem workers resume ${name}`,
        ),
      );
    const mend = STATES[state];
    if (mend !== undefined) found.push(warn(`${name} is ${state}`, mend.replace('NAME', name)));
    if (version !== null && version !== master && state === 'online')
      found.push(
        warn(
          `${name} is version ${version}, the master ${master}`,
          'upgrade the older of the two (docs/upgrading.md)',
        ),
      );
  }
  if (online > 0) return [ok(`${online} online`), ...found];
  return [warn('none is online: nothing is built', 'add one: impgem workers add'), ...found];
}
