import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import type {
  NewRegistrationToken,
  Page,
  RegistrationToken,
  WorkerCredential,
} from '@impgem/client';
import { FarmError, SharedTurns } from '@impgem/kit';
import { Audit, mintToken, parseToken, secretMatches, type Caller } from '../access/index.js';
import { Events } from '../events/index.js';
import { Database, pageOf, type PageQuery, type Transaction, type Tx } from '../platform/index.js';

/** What an admin asks for. */
export interface RegistrationTokenSpec {
  /** How many workers may register with it. */
  uses: number;
  /** Seconds. */
  expiresIn: number;
  /** Labels its workers may claim; any when left out. */
  labels?: string[] | undefined;
  /** Names that its workers may take: exact ones, or with a `*` at the end. When left out, see `mayTake`. */
  names?: string[] | undefined;
}

export interface WorkerSpec {
  name: string;
  labels?: string[] | undefined;
}

interface TokenRow {
  id: string;
  secret_hash: Buffer;
  uses_left: number;
  labels: string[] | null;
  names: string[] | null;
  created_at: Date;
  expires_at: Date;
  revoked_at: Date | null;
}

/** Tokens looked for in one turn to the database. */
const LOOKS_MOST = 500;

/** Labels that say what a machine is: no token gives them, a worker's own hello does. */
const FACTS = /^(os|arch|executor)=/;

const CURSOR = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z~[a-z0-9]{12}$/;

function isCursor(after: string): boolean {
  return CURSOR.test(after) && !Number.isNaN(Date.parse(after.slice(0, after.indexOf('~'))));
}

/** What a worker says of its machine in its hello. */
export interface Machine {
  platform: { os: string; arch: string };
  executor: string;
}

/**
 * Whether a worker of a token with these labels may claim this one. A label that says what its machine is must say the
 * same as the rest of its hello; when it registers, there is none yet.
 */
export function mayClaim(
  label: string,
  allowed: readonly string[] | null,
  machine?: Machine,
): boolean {
  if (!FACTS.test(label)) return allowed === null || allowed.includes(label);
  if (!machine) return true;
  const { platform, executor } = machine;
  return [`os=${platform.os}`, `arch=${platform.arch}`, `executor=${executor}`].includes(label);
}

/** Whether a token for these names is for this one. */
export function isNamed(name: string, names: readonly string[]): boolean {
  return names.some((one) =>
    one.endsWith('*') ? name.startsWith(one.slice(0, -1)) : one === name,
  );
}

/**
 * How a machine becomes a worker: an admin makes a registration token, and the worker exchanges one use of it
 * for a credential of its own, once. Both secrets are told once and stored as hashes.
 */
@Injectable()
export class Registration {
  /** Those that come while one look runs share the next. */
  readonly #looks: SharedTurns<string, TokenRow | undefined>;

  constructor(
    private readonly db: Database,
    private readonly events: Events,
    private readonly audit: Audit,
  ) {
    this.#looks = new SharedTurns(LOOKS_MOST, async (ids) => {
      const rows = await db.query<TokenRow>(
        'SELECT * FROM registration_tokens WHERE id = ANY($1)',
        [ids],
      );
      return ids.map((id) => rows.find((row) => row.id === id));
    });
  }

  async createToken(
    { uses, expiresIn, labels, names }: RegistrationTokenSpec,
    by: Caller,
  ): Promise<NewRegistrationToken> {
    const { id, token, hash } = mintToken('igr');
    return this.db.transaction(async (tx) => {
      const [row] = await tx.query<TokenRow>(CREATE, [
        id,
        hash,
        uses,
        labels ?? null,
        expiresIn,
        by.actor,
        names ?? null,
      ]);
      const detail = { uses, expiresIn, labels: labels ?? null, names: names ?? null };
      await this.audit.record(tx, by, 'registration-token.create', id, detail);
      return { ...toToken(row as TokenRow), token };
    });
  }

  /** Newest first. */
  async listTokens({ after, limit }: PageQuery): Promise<Page<RegistrationToken>> {
    if (after !== undefined && !isCursor(after))
      throw new FarmError('invalid-request', '`after` is the `next` of the page before');
    const rows = await this.db.query<TokenRow>(LIST, [after ?? null, limit + 1]);
    return pageOf(rows.map(toToken), limit, ({ id, createdAt }) => `${createdAt}~${id}`);
  }

  /** Rejects with `not-found`. Workers that registered with it stay. */
  async revokeToken(id: string, by: Caller): Promise<void> {
    if (!/^[a-z0-9]{12}$/.test(id)) throw new FarmError('not-found', 'a token has another id');
    await this.db.transaction(async (tx) => {
      const rows = await tx.query(
        'UPDATE registration_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING id',
        [id],
      );
      if (rows.length === 0)
        throw new FarmError('not-found', `there is no registration token ${id}`);
      await this.audit.record(tx, by, 'registration-token.revoke', id);
    });
  }

  /**
   * Exchanges one use of a registration token for a worker's credential. Rejects with `unauthenticated`,
   * `token-expired`, `token-revoked`, `token-used-up`, `label-not-allowed`, `name-not-allowed`, `name-taken`; the use is then not spent.
   */
  async register(text: string | undefined, worker: WorkerSpec): Promise<WorkerCredential> {
    const row = await this.#token(text);
    checkUsable(row);
    const refused = (worker.labels ?? []).filter((label) => !mayClaim(label, row.labels));
    if (refused.length > 0)
      throw new FarmError(
        'label-not-allowed',
        `registration token ${row.id} allows ${row.labels?.join(', ') || 'no labels'}; not ${refused.join(', ')}`,
      );
    return this.db.transaction(async (tx) => {
      await this.#checkName(tx, row, worker.name);
      await this.#spend(tx, row.id);
      return this.#insert(tx, row, worker);
    });
  }

  async #token(text: string | undefined): Promise<TokenRow> {
    const parsed = parseToken('igr', text);
    const row = parsed && (await this.#looks.ask(parsed.id));
    if (!parsed || !row || !secretMatches(parsed.secret, row.secret_hash))
      throw new FarmError('unauthenticated', 'send a registration token: `Bearer igr_…`');
    return row;
  }

  /**
   * A builder's `workers:` names whom it trusts. Who holds a token for any name must not become that worker before the
   * machine that is meant has registered, or after it was revoked.
   */
  async #checkName(tx: Tx, { id, names }: TokenRow, name: string): Promise<void> {
    const mend = `make a token for it: impgem workers add ${name}`;
    if (names !== null) {
      if (isNamed(name, names)) return;
      throw new FarmError(
        'name-not-allowed',
        `registration token ${id} is for ${names.join(', ')}, not for ${name}; ${mend}`,
      );
    }
    const [pin] = await tx.query<{ builder: string }>(PINNED, [name]);
    if (pin)
      throw new FarmError(
        'name-not-allowed',
        `builds of ${pin.builder} run on ${name} alone, and registration token ${id} is not for that name; ${mend}`,
      );
  }

  /** The row's lock makes a second one wait, and then see what is left. */
  async #spend(tx: Tx, id: string): Promise<void> {
    const spent = await tx.query(SPEND, [id]);
    if (spent.length > 0) return;
    const [row] = await tx.query<TokenRow>('SELECT * FROM registration_tokens WHERE id = $1', [id]);
    checkUsable(row as TokenRow);
    throw new FarmError('token-used-up', `registration token ${id} is used up`);
  }

  async #insert(
    tx: Transaction,
    row: TokenRow,
    { name, labels }: WorkerSpec,
  ): Promise<WorkerCredential> {
    const id = randomUUID();
    const { token, hash } = mintToken('igw', id.replaceAll('-', ''));
    const [made] = await tx.query<{ farm: string }>(INSERT, [
      id,
      name,
      hash,
      labels ?? [],
      row.labels,
      row.id,
    ]);
    if (!made)
      throw new FarmError(
        'name-taken',
        `there is a worker ${name}: choose another name, or revoke it first`,
      );
    await this.audit.record(tx, `worker:${name}`, 'worker.register', name, {
      id,
      registrationToken: row.id,
    });
    await this.events.append(tx, [{ kind: 'worker.registered', worker: name, data: { id } }]);
    return { id, name, farm: made.farm, token };
  }
}

function checkUsable(row: TokenRow): void {
  const { id } = row;
  if (row.revoked_at) throw new FarmError('token-revoked', `registration token ${id} was revoked`);
  if (row.expires_at.getTime() <= Date.now())
    throw new FarmError(
      'token-expired',
      `registration token ${id} expired at ${row.expires_at.toISOString()}`,
    );
  if (row.uses_left === 0)
    throw new FarmError('token-used-up', `registration token ${id} is used up`);
}

function toToken(row: TokenRow): RegistrationToken {
  return {
    id: row.id,
    usesLeft: row.uses_left,
    labels: row.labels,
    names: row.names,
    createdAt: row.created_at.toISOString(),
    expiresAt: row.expires_at.toISOString(),
    revokedAt: row.revoked_at?.toISOString() ?? null,
  };
}

// Times are given out, and so compared, in milliseconds.
const CREATE = `
  INSERT INTO registration_tokens (id, secret_hash, uses_left, labels, expires_at, created_by, created_at, names)
  VALUES ($1, $2, $3, $4, now() + $5::float8 * interval '1 second', $6, date_trunc('milliseconds', now()), $7)
  RETURNING *`;
// Of the builders in force, and of what still waits by an earlier farm file.
const PINNED = `
  SELECT name AS builder FROM builders WHERE active AND definition->'workers' ? $1::text
  UNION ALL
  SELECT b.name FROM requirement_groups g CROSS JOIN LATERAL (
    SELECT r.builder_id FROM build_requests r WHERE r.group_id = g.id AND r.state = 'pending' LIMIT 1) r
  JOIN builders b ON b.id = r.builder_id WHERE $1::text = ANY(g.workers)
  LIMIT 1`;
const LIST = `
  SELECT * FROM registration_tokens
  WHERE $1::text IS NULL
     OR (created_at, id) < (split_part($1, '~', 1)::timestamptz, split_part($1, '~', 2))
  ORDER BY created_at DESC, id DESC LIMIT $2`;
const SPEND = `
  UPDATE registration_tokens SET uses_left = uses_left - 1
  WHERE id = $1 AND uses_left > 0 AND revoked_at IS NULL AND expires_at > now() RETURNING id`;
const INSERT = `
  INSERT INTO workers (id, name, secret_hash, labels, allowed_labels, registered_with)
  VALUES ($1, $2, $3, $4, $5, $6)
  ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
  RETURNING (SELECT id FROM farm) AS farm`;
