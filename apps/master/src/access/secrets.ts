/**
 * Tokens: `<prefix>_<id>_<secret>`. The id finds the row, the secret proves it: 256 random bits, so that a plain
 * SHA-256 is enough to store it (a slow hash would cost minutes of CPU when thousands of workers come back).
 */
import { createHash, randomBytes, randomInt, timingSafeEqual } from 'node:crypto';

/** `igt` API, `igr` registration, `igw` worker. */
export type TokenPrefix = 'igt' | 'igr' | 'igw';

const ALPHABET = 'abcdefghijklmnopqrstuvwxyz0123456789';
const SHAPE = /^(ig[trw])_([a-z0-9]{12}|[0-9a-f]{32})_([A-Za-z0-9_-]{43})$/;

export interface MintedToken {
  id: string;
  /** The only place where the secret stands. */
  token: string;
  /** SHA-256 of the secret, 32 bytes. */
  hash: Buffer;
}

/** A new token. Without `id` it gets a random one of 12 characters. */
export function mintToken(prefix: TokenPrefix, id: string = randomId()): MintedToken {
  const secret = randomBytes(32).toString('base64url');
  return { id, token: `${prefix}_${id}_${secret}`, hash: hashSecret(secret) };
}

/** Absent when the text is no token of this kind. */
export function parseToken(
  prefix: TokenPrefix,
  text: string | undefined,
): { id: string; secret: string } | undefined {
  const [, kind, id, secret] = SHAPE.exec(text ?? '') ?? [];
  if (kind !== prefix || id === undefined || secret === undefined) return undefined;
  return { id, secret };
}

/** The id in a token of any kind; absent when the text is none. */
export function tokenId(text: string): string | undefined {
  return SHAPE.exec(text)?.[2];
}

/** In constant time. */
export function secretMatches(secret: string, hash: Uint8Array): boolean {
  const own = hashSecret(secret);
  return own.length === hash.length && timingSafeEqual(own, hash);
}

export function hashSecret(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

/** The token in an `Authorization: Bearer …` header. */
export function bearer(header: string | undefined): string | undefined {
  return /^Bearer +(\S+) *$/i.exec(header ?? '')?.[1];
}

function randomId(): string {
  return Array.from({ length: 12 }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');
}
