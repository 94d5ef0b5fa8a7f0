import { invariant } from '@impgem/kit';

/**
 * Where a reader of the outbox stands: the transaction and the row of the last event that it has seen. As text
 * `<xid>.<id>`, opaque to clients. Both are 64-bit; they stay decimal text, since `xid8` has no JavaScript number.
 */
export interface Position {
  xid: string;
  id: string;
}

/** Absent for anything but `<xid>.<id>` with both within 64 bits. */
export function parsePosition(text: string): Position | undefined {
  const match = /^(\d{1,20})\.(\d{1,19})$/.exec(text);
  const [, xid, id] = match ?? [];
  if (xid === undefined || id === undefined) return undefined;
  if (BigInt(xid) >= 2n ** 64n || BigInt(id) >= 2n ** 63n) return undefined;
  return { xid, id };
}

export function formatPosition({ xid, id }: Position): string {
  return `${xid}.${id}`;
}

/** Below zero when `a` comes first. For positions that are well formed. */
export function comparePositions(a: string, b: string): number {
  const [one, other] = [parsePosition(a), parsePosition(b)];
  invariant(one && other, 'positions are compared after they were checked');
  const [x, y] = [BigInt(one.xid) - BigInt(other.xid), BigInt(one.id) - BigInt(other.id)];
  return Number((x || y) > 0n) - Number((x || y) < 0n);
}
