import { FarmError, withoutCredentials } from '@impgem/kit';

/** How git reaches an address, told from its form as git does. */
export type Transport = 'https' | 'http' | 'ssh' | 'git' | 'file';

const SCHEMES: Record<string, Transport> = {
  'https:': 'https',
  'http:': 'http',
  'ssh:': 'ssh',
  'git+ssh:': 'ssh',
  'git:': 'git',
  'file:': 'file',
};

function refused(address: string, why: string): FarmError {
  const shown = JSON.stringify(withoutCredentials(address));
  return new FarmError('source-unavailable', `the git address ${shown} ${why}`);
}

/**
 * The transport of a repository's address: a URL, `user@host:path`, or an absolute path of the worker.
 * Throws a `FarmError` for what git could take for an option or a program (`-x`, `ext::sh …`), and for local
 * repositories unless the worker's config allows them.
 */
export function transportOf(address: string, allowLocal: boolean): Transport {
  // a folder's name may have blanks
  const plain = address.startsWith('/') ? address.replaceAll(' ', '') : address;
  // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
  if (/[\u0000-\u0020\u007f]/.test(plain))
    throw refused(address, 'has blanks or control characters');
  if (address.startsWith('-')) throw refused(address, 'begins with a dash');
  if (/^[A-Za-z0-9]+::/.test(address)) throw refused(address, 'names a remote helper');
  const transport = formOf(address);
  if (transport === 'file' && !allowLocal) {
    throw refused(
      address,
      "lies on the worker's own disk, which its config does not allow (IMPGEM_ALLOW_LOCAL_SOURCES=1)",
    );
  }
  return transport;
}

function formOf(address: string): Transport {
  if (address.startsWith('/')) return 'file';
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*:)\/\//.exec(address)?.[1]?.toLowerCase();
  if (scheme !== undefined) {
    const transport = SCHEMES[scheme];
    if (transport) return transport;
    throw refused(address, `uses ${scheme}//; use https://, ssh:// or git://`);
  }
  if (/^(?:https?|ssh|git|file):/i.test(address))
    throw refused(address, 'lacks // after its scheme');
  const host = /^([^/:]+):./.exec(address)?.[1];
  if (host !== undefined && !host.startsWith('-')) return 'ssh';
  throw refused(address, 'is neither a URL, nor user@host:path, nor an absolute path');
}

export const COMMIT_ID = /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/;

/** Throws a `FarmError` for what is no ref name in git's sense (`git check-ref-format`). */
export function checkRef(ref: string): void {
  const bad =
    ref.length > 250 ||
    ref.startsWith('-') ||
    ref.startsWith('/') ||
    ref.endsWith('/') ||
    ref.endsWith('.') ||
    ref === '@' ||
    // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
    /[\u0000-\u0020\u007f~^:?*[\\]|\.\.|@\{|\/\/|(?:^|\/)\.|\.lock(?:\/|$)/.test(ref);
  if (bad || ref === '') {
    throw new FarmError(
      'source-unavailable',
      `${JSON.stringify(ref)} is no name of a branch, tag or commit`,
    );
  }
}
