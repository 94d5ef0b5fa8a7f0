/** Bytes for people, in whole MiB, rounded down: `12 MiB`. */
export const inMiB = (bytes: number): string => `${Math.floor(bytes / 1024 ** 2)} MiB`;
