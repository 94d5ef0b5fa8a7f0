/**
 * Credentials in addresses. Addresses come from farm files and from what git prints; they are shown to everybody who
 * may read, stored in events and logs, and written into clones, so none may hold a password or a token.
 */

const COLON = '(?::|%3a)';
const SLASHES = '(?:[/\\\\]|%2f|%5c)';
const AT = '(?:@|%40)';
/** What an authority cannot hold, plain or encoded; quotes and brackets end an address in a text. */
const INSIDE = '(?:(?!%2f|%3f|%23|%5c)[^\\s/\\\\?#"\'<>`])';
/** Schemes whose user name says which account, and is no secret: a key or a password comes beside it. */
const NAMED = /^(?:git\+ssh|ssh\+git|ssh|sftp)$/i;

/**
 * `scheme://userinfo@`, in any case and encoding. Browsers and curl also take `https:userinfo@host` and backslashes.
 * Without slashes it is an address only if the scheme says so: `a:b@c` is the tag and digest of an image.
 */
const USERINFO = new RegExp(
  `(?<![a-z0-9+.-])([a-z][a-z0-9+.-]*)(${COLON}${SLASHES}{2,}|(?<=https?|git\\+https?|ftps?)${COLON}${SLASHES}*)(${INSIDE}{0,1000})(${AT})`,
  'gi',
);

/** A password with a slash in it: no program reads it so, but it is there to be read. */
const SPLIT_PASSWORD = new RegExp(
  `(?<![a-z0-9+.-])((?:git\\+)?https?${COLON}${SLASHES}+)(${INSIDE}{0,1000}:(?!\\d+[/?#])[^\\s"'<>@]{0,1000})@`,
  'gi',
);

/** Names under which forges and clouds take tokens in a query or a fragment. */
const PARAMETER = new RegExp(
  '([?&;#]|%3f|%26)((?:[a-z0-9]{1,40}[_-]){0,8}(?:access|auth|private|job|deploy|oauth|personal|bearer|refresh|id|security|session)?' +
    '[_-]?(?:token|secret|passwd|password|passphrase|pwd|api[_-]?key|apikey|credential|credentials|signature|auth|authorization)' +
    '|key|pat|pw|pass|sig|code|jwt)(=|%3d)((?:(?!%26|%23)[^&;#\\s"\'<>`])+)',
  'gi',
);

/** `user:password@host:path`, as people write it in vain: what follows the first colon is the path. */
const SCP_PASSWORD = /^([^\s/:@]*):[^\s/]{0,1000}@/;

/** What stands where something was cut out of a query. */
const CUT = '***';

/**
 * A text without the credentials of the addresses in it: the user part of http(s) addresses and of all others but
 * ssh, whose user name stays while its password goes, and the values of query parameters that are known to be tokens.
 */
export function cutCredentials(text: string): string {
  if (!/[@=]|%40|%3d/i.test(text)) return text;
  return text
    .replace(USERINFO, (_, scheme: string, between: string, user: string, at: string) => {
      const name = NAMED.test(scheme) ? (user.split(/:|%3a/i)[0] ?? '') : '';
      return `${scheme}${between}${name === '' ? '' : name + at}`;
    })
    .replace(SPLIT_PASSWORD, '$1')
    .replace(PARAMETER, `$1$2$3${CUT}`);
}

/** The same for the address of a repository, which may also be written `user:password@host:path`. */
export function withoutCredentials(address: string): string {
  return cutCredentials(address).replace(SCP_PASSWORD, '$1@');
}

/** Whether the address of a repository has a place in it where passwords and tokens stand. */
export function hasCredentials(address: string): boolean {
  return withoutCredentials(address) !== address;
}
