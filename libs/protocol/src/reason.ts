import { cutText, storableText } from '@impgem/kit';
import { REASON_CHARS, type Reason } from './messages.js';

/**
 * The one maker of reasons whose text quotes a peer, a system or a user: it is cut to what the wire takes, and free of
 * what no database stores, so that a reason never keeps the message around it from being sent.
 */
export function reasonOf(code: string, message: string): Reason {
  return { code, message: cutText(storableText(message), REASON_CHARS) };
}
