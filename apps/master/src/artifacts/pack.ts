/**
 * Packs: many small files that came as one. Their contents are rows (`small_blobs`), each stored once whoever had it,
 * written with the artifacts' rows in one statement, and durable by its commit: no file, no inode and no sync of their own.
 */
import { createHash } from 'node:crypto';
import { portablePathProblem, quotedPath } from '@impgem/kit';
import { PACK_BYTES, type ArtifactOffer, type PackedFile } from '@impgem/protocol';
import { holdSmallBlobs, type Tx } from '../platform/index.js';

/** What is wrong with the list of a pack, or undefined. */
export function packProblem(
  offer: ArtifactOffer,
  files: readonly PackedFile[],
): string | undefined {
  const [first] = files;
  if (!first) return 'the pack has no files';
  if (first.path !== offer.path || first.artifact !== offer.artifact)
    return 'the pack is not named by its first file';
  if (files.reduce((sum, { size }) => sum + size, 0) !== offer.size)
    return 'the sizes of its files do not add up to that of the pack';
  // It is read whole, and hashed in one go.
  if (offer.size > PACK_BYTES) return `a pack has at most ${PACK_BYTES} bytes`;
  if (new Set(files.map(({ artifact }) => artifact)).size < files.length)
    return 'the pack has a number twice';
  for (const { path } of files) {
    const problem = portablePathProblem(path);
    if (problem) return `${quotedPath(path)} in the pack: ${problem}`;
  }
  return undefined;
}

/** The first of the files whose bytes are not those that were announced. */
export function changedIn(files: readonly PackedFile[], bytes: Buffer): string | undefined {
  let at = 0;
  for (const { path, size, sha256 } of files) {
    const content = bytes.subarray(at, (at += size));
    if (createHash('sha256').update(content).digest('hex') !== sha256) return path;
  }
  return undefined;
}

/**
 * Stores all of them, also when they were before; undefined when the worker does not hold the build, or another file
 * has the number or the path of one.
 */
export async function storePack(
  tx: Tx,
  { build, epoch }: { build: number; epoch: number },
  files: readonly PackedFile[],
  bytes: Buffer,
): Promise<{ builder: string; request: number; worker: string } | undefined> {
  let start = 0;
  const list = files.map(({ artifact: number, path, size, sha256, mode }) => {
    const file = { number, path, size, sha256, mode: mode % 0o1000, start };
    start += size;
    return file;
  });
  await holdSmallBlobs(tx);
  const params = [build, epoch, JSON.stringify(list)];
  const [held] = await tx.query<{ builder: string; request: number; worker: string }>(STORE, [
    ...params,
    bytes,
  ]);
  const [found] = await tx.query<{ n: number }>(FOUND, [build, JSON.stringify(list)]);
  return found?.n === files.length ? held : undefined;
}

const LIST = `jsonb_to_recordset($3::jsonb) AS f(number int, path text, size int, sha256 text, mode int, start int)`;

// Contents in the order of their names, or two packs might wait for each other.
const STORE = `
  WITH held AS (
    SELECT build_id, request_id, worker_id FROM leases
    WHERE build_id = $1 AND epoch = $2 AND lost_at IS NULL FOR SHARE
  ), contents AS (
    INSERT INTO small_blobs (sha256, data)
    SELECT DISTINCT ON (f.sha256) f.sha256, substring($4::bytea FROM f.start + 1 FOR f.size)
    FROM held CROSS JOIN ${LIST} ORDER BY f.sha256
    ON CONFLICT DO NOTHING
  ), stored AS (
    INSERT INTO artifacts (build_id, number, path, size, sha256, mode)
    SELECT held.build_id, f.number, f.path, f.size, f.sha256, f.mode FROM held CROSS JOIN ${LIST}
    ON CONFLICT DO NOTHING)
  SELECT b.name AS builder, held.request_id AS request, w.name AS worker
  FROM held JOIN builds ON builds.id = held.build_id JOIN builders b ON b.id = builds.builder_id
  JOIN workers w ON w.id = held.worker_id`;

const FOUND = `
  SELECT count(*) AS n
  FROM jsonb_to_recordset($2::jsonb) AS f(number int, path text, sha256 text)
  JOIN artifacts a ON a.build_id = $1 AND a.number = f.number AND a.path = f.path AND a.sha256 = f.sha256`;
