import { randomBytes, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import {
  Injectable,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
} from '@nestjs/common';
import { FarmError, SharedTurns } from '@impgem/kit';
import { DataSource, In } from 'typeorm';
import { Database, logger, MasterConfig } from '../platform/index.js';
import { type ApiToken, BrowserSession } from './access.entities.js';
import { Audit } from './audit.js';
import { withImplied, type Caller } from './caller.js';
import { allowedOrigin } from './origin.js';
import { bearer, hashSecret, parseToken, secretMatches } from './secrets.js';
import { sessionCookieOf } from './session-cookie.js';

const log = logger('access');

/** Absolute, however much it is used. */
const SESSION_MS = 24 * 60 * 60 * 1000;
/** `last_used_at` is as exact as this. */
const USED_EVERY_MS = 60_000;

/**
 * So long a token that was found in force is not looked for again; a revocation ends that at once, on each master that
 * hears of it.
 */
const KNOWN_MS = 1_000;
const KNOWN_MOST = 1_000;
/** Tokens or sessions looked for in one turn to the database. */
const LOOKS_MOST = 500;
/** How often sessions are removed whose time is over. */
const CLEAN_EVERY_MS = 60 * 60 * 1000;

/** A request before it is known who makes it; a plain upgrade request will do. */
export interface Knock {
  headers: IncomingHttpHeaders;
}

/** Who may come in: API tokens, and sessions that stand for one. */
@Injectable()
export class Access implements OnApplicationBootstrap, OnApplicationShutdown {
  readonly #revoked = new Set<() => void>();
  #changes = 0;
  /** Tokens as they were found, or not, by their ids, and until when that counts. */
  readonly #known = new Map<string, { row: ApiToken | undefined; until: number }>();
  readonly #tokens: SharedTurns<string, ApiToken | undefined>;
  readonly #sessions: SharedTurns<Buffer, BrowserSession | undefined>;
  #unlisten: (() => void) | undefined;
  #cleaning: NodeJS.Timeout | undefined;

  constructor(
    private readonly database: Database,
    private readonly config: MasterConfig,
    private readonly audit: Audit,
    source: DataSource,
  ) {
    // Those that come while one look runs share the next: wrong ones in any number cost one query at a time.
    this.#tokens = new SharedTurns(LOOKS_MOST, async (ids) => {
      const rows = await database.query<ApiToken>(FIND_TOKENS, [ids]);
      const byId = new Map(rows.map((row) => [row.id, row]));
      return ids.map((id) => byId.get(id));
    });
    this.#sessions = new SharedTurns(LOOKS_MOST, async (hashes) => {
      const rows = await source.getRepository(BrowserSession).find({
        where: { idHash: In([...hashes]) },
        relations: { token: true },
      });
      return hashes.map((hash) => rows.find(({ idHash }) => idHash.equals(hash)));
    });
  }

  async onApplicationBootstrap(): Promise<void> {
    this.#cleaning = setInterval(() => this.#clean(), CLEAN_EVERY_MS);
    this.#cleaning.unref();
    this.#clean();
    this.#unlisten = await this.database.listen('access', () => {
      this.forget();
      for (const handler of this.#revoked) handler();
    });
  }

  onApplicationShutdown(): void {
    this.#unlisten?.();
    clearInterval(this.#cleaning);
  }

  #clean(): void {
    this.database
      .query('DELETE FROM sessions WHERE expires_at < now()')
      .catch((err: unknown) => log.debug({ err }, 'cannot remove sessions that have ended'));
  }

  /** Counts what was told of tokens and sessions: when it has changed, what was read before may be out of date. */
  get changes(): number {
    return this.#changes;
  }

  /**
   * Rejects with `FarmError`: `unauthenticated`, `token-expired`, `token-revoked`, `origin`. A cookie alone
   * proves nothing about who sent the request: what changes something must also pass `checkCsrf`.
   */
  async authenticate({ headers }: Knock): Promise<Caller> {
    if (headers.authorization !== undefined) return this.#byToken(bearer(headers.authorization));
    const cookie = sessionCookieOf(headers.cookie);
    if (cookie !== undefined) return this.#bySession(cookie, headers);
    throw new FarmError(
      'unauthenticated',
      'no token: send it as `Authorization: Bearer igt_…`, or sign in on the page',
    );
  }

  /** For what a session changes: the page's own token proves that the page sent it. Rejects with `csrf`. */
  checkCsrf(caller: Caller, { headers }: Knock): void {
    if (!caller.session) return;
    const given = Buffer.from(String(headers['x-csrf-token'] ?? ''));
    const wanted = Buffer.from(caller.session.csrf);
    if (given.length !== wanted.length || !timingSafeEqual(given, wanted))
      throw new FarmError('csrf', 'send the `csrf` of GET /api/v1/session as X-CSRF-Token');
  }

  /** Whether the caller would still be let in: its token not revoked, nothing expired, not signed out. */
  async isCurrent(caller: Caller): Promise<boolean> {
    if (caller.expiresAt && caller.expiresAt.getTime() <= Date.now()) return false;
    const [row] = await this.database.query<{ current: boolean }>(
      `SELECT revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
         AND ($2::bytea IS NULL OR EXISTS (SELECT FROM sessions WHERE id_hash = $2)) AS current
       FROM api_tokens WHERE id = $1`,
      [caller.tokenId, caller.session?.idHash ?? null],
    );
    return row?.current ?? false;
  }

  /**
   * Calls `handler` when something was revoked or signed out on any master (a token, a worker, a session), and
   * after a time without the database: then look again at whom you let in. Returns the end of it.
   */
  onRevoked(handler: () => void): () => void {
    this.#revoked.add(handler);
    return () => this.#revoked.delete(handler);
  }

  /** What is known of tokens may have changed. */
  forget(): void {
    this.#known.clear();
    this.#changes += 1;
  }

  /** The caller whose token this is. Rejects as `authenticate` does. */
  async #byToken(text: string | undefined): Promise<Caller> {
    const parsed = parseToken('igt', text);
    const row = parsed && (await this.#find(parsed.id));
    // What is known of a token is told only to who has its secret.
    if (!parsed || !row || !secretMatches(parsed.secret, row.secretHash))
      throw new FarmError('unauthenticated', 'this is no token of this farm');
    return this.#admit(row);
  }

  /** Every request of every program comes by here. */
  async #find(id: string): Promise<ApiToken | undefined> {
    const known = this.#known.get(id);
    if (known && known.until > performance.now()) return known.row;
    const changes = this.#changes;
    const until = performance.now() + KNOWN_MS;
    const row = await this.#tokens.ask(id);
    const [oldest] = this.#known.keys();
    if (this.#known.size >= KNOWN_MOST && oldest !== undefined) this.#known.delete(oldest);
    // It may have been read before a change that was told of meanwhile.
    if (changes === this.#changes) this.#known.set(id, { row, until });
    return row;
  }

  async #bySession(cookie: string, headers: IncomingHttpHeaders): Promise<Caller> {
    if (!allowedOrigin(headers, this.config.publicUrl))
      throw new FarmError(
        'origin',
        `a page of ${headers.origin} may not use this farm; set IMPGEM_PUBLIC_URL when it is the farm's own address`,
      );
    const session = await this.#sessions.ask(hashSecret(cookie));
    if (!session || session.expiresAt.getTime() <= Date.now())
      throw new FarmError('unauthenticated', 'the session has ended: sign in again');
    const caller = await this.#admit(session.token);
    const ends = Math.min(session.expiresAt.getTime(), caller.expiresAt?.getTime() ?? Infinity);
    const { idHash, csrf } = session;
    return { ...caller, expiresAt: new Date(ends), session: { idHash, csrf } };
  }

  async #admit(token: ApiToken): Promise<Caller> {
    if (token.revokedAt) throw new FarmError('token-revoked', `token ${token.name} was revoked`);
    if (token.expiresAt && token.expiresAt.getTime() <= Date.now())
      throw new FarmError(
        'token-expired',
        `token ${token.name} expired at ${token.expiresAt.toISOString()}`,
      );
    if (Date.now() - (token.lastUsedAt?.getTime() ?? 0) > USED_EVERY_MS) {
      token.lastUsedAt = new Date();
      await this.database.query('UPDATE api_tokens SET last_used_at = now() WHERE id = $1', [
        token.id,
      ]);
    }
    return {
      actor: `token:${token.name}`,
      tokenId: token.id,
      scopes: withImplied(token.scopes),
      ...(token.expiresAt ? { expiresAt: token.expiresAt } : {}),
    };
  }

  /** Trades an API token for a session. The cookie's value is told only here. */
  async signIn(token: string): Promise<{ cookie: string; caller: Caller }> {
    const caller = await this.#byToken(token);
    const cookie = randomBytes(32).toString('base64url');
    const csrf = randomBytes(32).toString('base64url');
    const idHash = hashSecret(cookie);
    const ends = Math.min(Date.now() + SESSION_MS, caller.expiresAt?.getTime() ?? Infinity);
    const expiresAt = new Date(ends);
    await this.database.transaction(async (tx) => {
      await tx.query(
        'INSERT INTO sessions (id_hash, token_id, csrf, expires_at) VALUES ($1, $2, $3, $4)',
        [idHash, caller.tokenId, csrf, expiresAt],
      );
      const { sessionsPerToken } = this.config.limits;
      const ended = await tx.query(END_OLDEST, [caller.tokenId, sessionsPerToken]);
      if (ended.length > 0) await tx.query('NOTIFY access');
      await this.audit.record(tx, caller, 'session.create', caller.tokenId);
    });
    return { cookie, caller: { ...caller, expiresAt, session: { idHash, csrf } } };
  }

  async signOut(caller: Caller): Promise<void> {
    if (!caller.session) return;
    const { idHash } = caller.session;
    await this.database.transaction(async (tx) => {
      await tx.query('DELETE FROM sessions WHERE id_hash = $1', [idHash]);
      await this.audit.record(tx, caller, 'session.end', caller.tokenId);
      await tx.query('NOTIFY access');
    });
  }
}

/** A token has so many sessions at most; the newest stay. */
const END_OLDEST = `
  DELETE FROM sessions WHERE id_hash IN (
    SELECT id_hash FROM sessions WHERE token_id = $1 ORDER BY created_at DESC OFFSET $2) RETURNING 1`;
const FIND_TOKENS = `
  SELECT id, name, scopes, secret_hash AS "secretHash", created_at AS "createdAt", created_by AS "createdBy",
         expires_at AS "expiresAt", last_used_at AS "lastUsedAt", revoked_at AS "revokedAt"
  FROM api_tokens WHERE id = ANY($1)`;
