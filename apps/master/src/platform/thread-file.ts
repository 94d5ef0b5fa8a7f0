/**
 * The file of a thread whose source lies beside the caller, `from` being the caller's `import.meta.url`. A thread runs what
 * is built; where tests run the caller as it is written, two folders below the project, the bundle is taken.
 */
export const threadFile = (name: string, from: string): URL =>
  new URL(from.endsWith('.ts') ? `../../bundle/${name}.js` : `./${name}.js`, from);
