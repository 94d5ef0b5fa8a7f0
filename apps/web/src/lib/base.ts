/**
 * The path below which the farm is reached, as the master has written it into the page: empty, or such as `/farm` behind
 * a proxy. Without a slash at its end.
 */
const given = document.querySelector('meta[name="impgem-base"]')?.getAttribute('content') ?? '';

export const basePath = given.startsWith('/') ? given.replace(/\/+$/, '') : '';

/** The farm's address, as the browser knows it. */
export const farmUrl = (): string => globalThis.location.origin + basePath;
