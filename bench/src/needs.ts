/** What rows need of the machine, for whoever prepares it. */
const BUSYBOX = ['container', 'chain', 'log', 'shortlines', 'artifacts', 'smoke', 'all'];
const DEBIAN = ['loglatency', 'viewers', 'all'];

export function imagesFor(names: readonly string[]): string[] {
  const any = (rows: readonly string[]) => names.some((name) => rows.includes(name));
  return [
    ...(any(BUSYBOX) ? ['busybox:1.37'] : []),
    ...(any(DEBIAN) ? ['debian:bookworm-slim'] : []),
  ];
}
