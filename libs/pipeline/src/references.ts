/** Checks of single values; each answers what is wrong, or undefined. They run on what is rendered, too. */
import { cutText, hasCredentials, withoutCredentials } from '@impgem/kit';
import picomatch from 'picomatch';

/** Characters of a rendered environment value; the kernel takes 128 KiB of name and value together. */
const MAX_VALUE = 120 * 1024;

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const CONTROL = /[\u0000-\u001f\u007f]/;

export function imageProblem(image: string): string | undefined {
  if (image.length <= 255 && /^[A-Za-z0-9][\w.:/@-]*$/.test(image)) return undefined;
  return `${quote(image)} is not the name of an image, such as debian:bookworm-slim`;
}

/**
 * The address goes to `git fetch`, so what git would read as an option or as a program to run is refused; it is shown
 * to everybody who may read, so credentials are refused, too.
 */
export function gitProblem(address: string): string | undefined {
  return addressProblem(address) ?? credentialProblem(address);
}

/** Of an address in a file that was applied before credentials were refused: it works on, and is shown without them. */
export function addressProblem(address: string): string | undefined {
  const shown = quote(withoutCredentials(address));
  if (address === '' || address.length > 2048 || CONTROL.test(address) || address.startsWith('-'))
    return `${shown} is not the address of a git repository`;
  if (/^[\w+-]+::/.test(address))
    return `${shown} names a remote helper; give an https, ssh, git or file address`;
  if (/^(?:https?|ssh|git|file):(?!\/\/)/i.test(address) && !hasCredentials(address))
    return `${shown} lacks // after its scheme`;
  return undefined;
}

/** Also for an address with expressions in it, before they are known. */
export function credentialProblem(address: string): string | undefined {
  const plain = address.replaceAll(/\$\{\{.*?\}\}/gs, 'x');
  if (!hasCredentials(plain)) return undefined;
  return (
    `the address ${quote(withoutCredentials(plain))} has a user, a password or a token before its host or in its query, which ` +
    'everybody who may read the farm would see; take it out, and let the worker sign in: by an ssh key ' +
    '(git@host:team/x.git), or by ~/.netrc of the user that the worker runs as'
  );
}

export function refProblem(ref: string): string | undefined {
  const bad = /^[-/]|[\s~^:?*[\\]|\.\.|@\{|\/$|\.lock$/.test(ref) || CONTROL.test(ref);
  if (ref !== '' && ref.length <= 255 && !bad) return undefined;
  return `${quote(ref)} is not a branch, tag or commit`;
}

export function workdirProblem(workdir: string): string | undefined {
  if (workdir.startsWith('/'))
    return 'the directory is absolute; give it relative to the workspace';
  if (workdir.split(/[/\\]/).includes('..')) return 'the directory leaves the workspace with ..';
  if (workdir.length > 1024 || CONTROL.test(workdir) || workdir.includes('\\'))
    return `${quote(workdir)} is not a directory below the workspace`;
  return undefined;
}

/** Globs are matched on the worker: no pattern may take long, so extended globs and endless stars are out. */
export function globProblem(glob: string): string | undefined {
  if (glob.trim() === '') return 'the glob is empty';
  if (glob.startsWith('/')) return 'the glob is absolute; give it relative to the workspace';
  if (glob.split(/[/\\]/).includes('..')) return 'the glob leaves the workspace with ..';
  if (glob.startsWith('!')) return 'a glob cannot exclude; list what to take';
  if (/[+@?*!]\(/.test(glob)) return 'extended globs such as +(a|b) are not supported; use {a,b}';
  if (glob.length > 512 || CONTROL.test(glob) || (glob.match(/\*+/g) ?? []).length > 10)
    return `${quote(glob)} is too long, or has more than 10 stars`;
  try {
    picomatch.makeRe(glob, { strictBrackets: true });
    return undefined;
  } catch (error) {
    return `${quote(glob)} is not a glob: ${error instanceof Error ? error.message : String(error)}`;
  }
}

export function valueProblem(value: string): string | undefined {
  if (value.includes('\0')) return 'the value has a NUL character in it';
  return value.length > MAX_VALUE ? `the value has more than ${MAX_VALUE} characters` : undefined;
}

/** Names of variables; `IMPGEM_…` are the farm's own. */
export function variableProblem(name: string): string | undefined {
  if (!/^[A-Za-z_][A-Za-z0-9_]{0,254}$/.test(name))
    return `${quote(name)} is not the name of a variable: letters, digits and _, no digit first`;
  return /^IMPGEM(_|$)/.test(name) ? `${name} is set by the farm itself` : undefined;
}

export function labelProblem(label: string): string | undefined {
  if (label.length <= 100 && /^[A-Za-z0-9][\w.-]*(=[\w./-]+)?$/.test(label)) return undefined;
  return `${quote(label)} is not a label: write name or name=value, such as os=linux`;
}

/** Names of builders and workers: they stand in addresses and paths. */
export function nameProblem(name: string): string | undefined {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/.test(name)) return undefined;
  return `${quote(name)} is not a name: letters, digits and . _ - (not first), at most 100`;
}

export function propertyNameProblem(name: string): string | undefined {
  if (/^[A-Za-z_][\w-]{0,63}$/.test(name)) return undefined;
  return `${quote(name)} is not the name of a property: letters, digits, _ and -, at most 64`;
}

/** The variable in which a property reaches the steps. */
export function propertyVariable(name: string): string {
  return `IMPGEM_PROPERTY_${name.toUpperCase().replaceAll('-', '_')}`;
}

function quote(text: string): string {
  return JSON.stringify(cutText(text, 80, '...'));
}
