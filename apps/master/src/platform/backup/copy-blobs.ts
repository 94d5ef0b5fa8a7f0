import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Client } from 'pg';
import type { BlobStore } from '../storage/blobs.js';

const BATCH = 1000;

export interface BlobCopies {
  copied: number;
  /** They were there before. */
  kept: number;
  /** SHA-256 of those that are not at the source, or have other bytes there. */
  lost: string[];
}

/**
 * Copies the files that the rows of the open transaction name. A blob never changes, so one that is there is not
 * copied again; what is copied is compared with its name. `half` is a file on the target's file system.
 */
export async function copyBlobs(
  client: Client,
  { from, to, half }: { from: BlobStore; to: BlobStore; half: string },
): Promise<BlobCopies> {
  const copies: BlobCopies = { copied: 0, kept: 0, lost: [] };
  await mkdir(dirname(half), { recursive: true });
  try {
    for await (const sha256 of named(client)) {
      if (await to.has(sha256)) copies.kept += 1;
      else if (!(await from.has(sha256))) copies.lost.push(sha256);
      else if (await isCopied(from.path(sha256), half, sha256)) {
        await to.adopt(half, sha256);
        copies.copied += 1;
      } else copies.lost.push(sha256);
    }
  } finally {
    await rm(half, { force: true });
  }
  return copies;
}

async function* named(client: Client): AsyncGenerator<string> {
  // Before sealed logs there were only artifacts, and all of them were files.
  const { rows } = await client.query<{ sealed: boolean; small: boolean }>(
    `SELECT to_regclass('sealed_logs') IS NOT NULL AS sealed, to_regclass('small_blobs') IS NOT NULL AS small`,
  );
  const logs = rows[0]?.sealed ? 'UNION SELECT blob FROM sealed_logs WHERE blob IS NOT NULL' : '';
  const files = rows[0]?.small
    ? 'WHERE NOT EXISTS (SELECT 1 FROM small_blobs s WHERE s.sha256 = artifacts.sha256)'
    : '';
  await client.query(
    `DECLARE blobs NO SCROLL CURSOR FOR SELECT sha256 FROM artifacts ${files} ${logs}`,
  );
  for (;;) {
    const { rows: batch } = await client.query<{ sha256: string }>(`FETCH ${BATCH} FROM blobs`);
    if (batch.length === 0) break;
    for (const { sha256 } of batch) yield sha256;
  }
  await client.query('CLOSE blobs');
}

/** Whether the copy has the bytes that its name promises. */
async function isCopied(from: string, to: string, sha256: string): Promise<boolean> {
  const hash = createHash('sha256');
  await pipeline(
    createReadStream(from),
    async function* (blocks: AsyncIterable<Buffer>) {
      for await (const block of blocks) {
        hash.update(block);
        yield block;
      }
    },
    createWriteStream(to, { mode: 0o600 }),
  );
  return hash.digest('hex') === sha256;
}
