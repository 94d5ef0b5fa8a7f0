import { chmod, mkdir, rename, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import type { NewToken, Page, Scope, Token } from '@impgem/client';
import { FarmError } from '@impgem/kit';
import { DataSource, LessThan } from 'typeorm';
import {
  Database,
  logger,
  MasterConfig,
  pageOf,
  type PageQuery,
  type Tx,
} from '../platform/index.js';
import { Access } from './access.js';
import { ApiToken } from './access.entities.js';
import { Audit } from './audit.js';
import { mintToken, type MintedToken } from './secrets.js';

/** In the data folder: the token made at the first start, for whoever may read the folder. */
const ADMIN_TOKEN_FILE = 'admin-token';
const FIRST_NAME = 'first-admin';

const log = logger('access');

/** API tokens: made, listed, revoked. */
@Injectable()
export class Tokens implements OnApplicationBootstrap {
  constructor(
    private readonly database: Database,
    private readonly config: MasterConfig,
    private readonly audit: Audit,
    private readonly source: DataSource,
    private readonly access: Access,
  ) {}

  /** A farm without any token gets one, which lies in the data folder. */
  async onApplicationBootstrap(): Promise<void> {
    await this.database.transaction(async (tx) => {
      // Masters that start together make one.
      await tx.query('LOCK TABLE api_tokens IN EXCLUSIVE MODE');
      if ((await tx.query('SELECT 1 FROM api_tokens LIMIT 1')).length > 0) return;
      const minted = mintToken('igt');
      await insert(tx, minted, { name: FIRST_NAME, scopes: ['admin'] }, 'system');
      await this.audit.record(tx, 'system', 'token.create', FIRST_NAME, { scopes: ['admin'] });
      // Before the commit: a crash between leaves a file that the next start replaces, not a lost token.
      const file = await writeSecret(this.config.dataDir, minted.token);
      log.info({ file }, 'made the first admin token');
    });
  }

  /** In the order of their ids, which says nothing. Revoked ones are listed too. */
  async list({ after, limit }: PageQuery): Promise<Page<Token>> {
    const rows = await this.source.getRepository(ApiToken).find({
      ...(after === undefined ? {} : { where: { id: LessThan(after) } }),
      order: { id: 'DESC' },
      take: limit + 1,
    });
    return pageOf(rows.map(tokenView), limit, ({ id }) => id);
  }

  /** Rejects with `name-taken`. `expiresIn` in seconds. */
  async create(
    wish: { name: string; scopes: Scope[]; expiresIn?: number },
    by: { actor: string },
  ): Promise<NewToken> {
    const minted = mintToken('igt');
    const row = await this.database.transaction(async (tx) => {
      const inserted = await insert(tx, minted, wish, by.actor);
      if (!inserted)
        throw new FarmError(
          'name-taken',
          `there is a token named ${wish.name}: revoke it first, or take another name`,
        );
      const { scopes, expiresIn } = wish;
      await this.audit.record(tx, by, 'token.create', wish.name, {
        id: minted.id,
        scopes,
        expiresIn,
      });
      return inserted;
    });
    return { ...tokenView(row), token: minted.token };
  }

  /** At once, on all masters: sessions and live sockets made with it end. Rejects with `not-found`. */
  async revoke(id: string, by: { actor: string }): Promise<void> {
    if (!/^[a-z0-9]{12}$/.test(id)) throw new FarmError('not-found', 'a token has another id');
    await this.database.transaction(async (tx) => {
      const [row] = await tx.query<{ name: string; fresh: boolean }>(
        `UPDATE api_tokens t SET revoked_at = coalesce(t.revoked_at, now())
         FROM api_tokens old WHERE t.id = $1 AND old.id = t.id
         RETURNING t.name, old.revoked_at IS NULL AS fresh`,
        [id],
      );
      if (!row) throw new FarmError('not-found', `there is no token ${id}`);
      if (!row.fresh) return;
      await tx.query('DELETE FROM sessions WHERE token_id = $1', [id]);
      await this.audit.record(tx, by, 'token.revoke', row.name, { id });
      await tx.query('NOTIFY access');
    });
    // Here the answer may be read before the notification is.
    this.access.forget();
  }
}

/** Absent when the name is in use. */
async function insert(
  tx: Tx,
  minted: MintedToken,
  wish: { name: string; scopes: Scope[]; expiresIn?: number },
  by: string,
): Promise<ApiToken | undefined> {
  const [row] = await tx.query<ApiToken>(
    `INSERT INTO api_tokens (id, name, scopes, secret_hash, created_by, expires_at)
     VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
     ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
     RETURNING id, name, scopes, created_at AS "createdAt", expires_at AS "expiresAt",
       last_used_at AS "lastUsedAt", revoked_at AS "revokedAt"`,
    [minted.id, wish.name, wish.scopes, minted.hash, by, wish.expiresIn ?? null],
  );
  return row;
}

function tokenView(row: ApiToken): Token {
  return {
    id: row.id,
    name: row.name,
    scopes: row.scopes,
    createdAt: row.createdAt.toISOString(),
    expiresAt: row.expiresAt?.toISOString() ?? null,
    lastUsedAt: row.lastUsedAt?.toISOString() ?? null,
    revokedAt: row.revokedAt?.toISOString() ?? null,
  };
}

async function writeSecret(folder: string, token: string): Promise<string> {
  await mkdir(folder, { recursive: true });
  const file = path.join(folder, ADMIN_TOKEN_FILE);
  const half = `${file}.new`;
  await writeFile(half, `${token}\n`, { mode: 0o600 });
  await chmod(half, 0o600);
  await rename(half, file);
  return file;
}
