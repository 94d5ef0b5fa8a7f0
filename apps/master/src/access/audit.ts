import { Injectable } from '@nestjs/common';
import { DataSource, LessThan } from 'typeorm';
import type { AuditEntry, Page } from '@impgem/client';
import { pageOf, type PageQuery, type Transaction } from '../platform/index.js';
import { AuditRow } from './access.entities.js';

/** SQL that writes what `select` gives (actor, action, target, detail): a part of the statement that does it. */
export const insertAudit = (select: string): string =>
  `INSERT INTO audit (actor, action, target, detail) ${select}`;

/** Who did what: every change that a person or a program made, written with the change itself. */
@Injectable()
export class Audit {
  constructor(private readonly source: DataSource) {}

  /**
   * Call it in the transaction of the change. `action` is `<noun>.<verb>`, e.g. `worker.revoke`; `target` names
   * the thing; `detail` holds no secret.
   */
  async record(
    tx: Transaction,
    by: { actor: string } | string,
    action: string,
    target: string,
    detail: object = {},
  ): Promise<void> {
    tx.send(insertAudit('VALUES ($1, $2, $3, $4::jsonb)'), [
      typeof by === 'string' ? by : by.actor,
      action,
      target,
      JSON.stringify(detail),
    ]);
  }

  /** Newest first. */
  async list({ after, limit }: PageQuery): Promise<Page<AuditEntry>> {
    const rows = await this.source.getRepository(AuditRow).find({
      ...(after === undefined ? {} : { where: { id: LessThan(Number(after)) } }),
      order: { id: 'DESC' },
      take: limit + 1,
    });
    const items = rows.map((row) => ({ ...row, id: Number(row.id), at: row.at.toISOString() }));
    return pageOf(items, limit, ({ id }) => String(id));
  }
}
