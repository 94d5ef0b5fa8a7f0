import { readdirSync, existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('.', import.meta.url));
const kind = process.env.IMPGEM_TEST_KIND ?? 'unit';
const named = `\\.(db|docker|e2e|sim|chaos|browser|compose)\\.test\\.tsx?$`;
const patience = Math.max(1, Number(process.env.IMPGEM_TEST_PATIENCE) || 1);
/** How long one test may take on an ordinary machine; no test has a limit of its own. */
const LIMITS_MS = { unit: 60_000, e2e: 300_000, chaos: 300_000, compose: 900_000 };
const libs = readdirSync(`${root}libs`).filter((lib) =>
  existsSync(`${root}libs/${lib}/src/index.ts`),
);

/** Jest in ESM mode over swc; one configuration for every project, the kind of test told from the file name. */
export default {
  testEnvironment: 'node',
  testMatch: ['**/*.test.ts', '**/*.test.tsx'],
  testPathIgnorePatterns: ['/node_modules/', '/dist/', ...(kind === 'unit' ? [named] : [])],
  ...(kind === 'unit' ? {} : { testMatch: [`**/*.${kind}.test.ts`] }),
  extensionsToTreatAsEsm: ['.ts', '.tsx'],
  transform: {
    '^.+\\.tsx?$': [
      '@swc/jest',
      {
        swcrc: false,
        jsc: {
          parser: { syntax: 'typescript', decorators: true, tsx: true },
          transform: {
            legacyDecorator: true,
            decoratorMetadata: true,
            useDefineForClassFields: false,
            react: { runtime: 'automatic' },
          },
          target: 'es2022',
          keepClassNames: true,
        },
        module: { type: 'es6' },
        sourceMaps: 'inline',
      },
    ],
  },
  moduleNameMapper: {
    '^(\\.{1,2}/.*)\\.js$': '$1',
    [`^@impgem/(${libs.join('|')})$`]: `${root}libs/$1/src/index.ts`,
    '\\.css$': `${root}tools/empty-module.mjs`,
  },
  ...(kind === 'db' || kind === 'e2e'
    ? {
        globalSetup: `${root}tools/jest-postgres.mjs`,
        globalTeardown: `${root}tools/jest-postgres-end.mjs`,
      }
    : {}),
  passWithNoTests: true,
  cacheDirectory: `${root}.jest-cache`,
  testTimeout: (LIMITS_MS[kind] ?? 180_000) * patience,
  maxWorkers: ['unit', 'db', 'e2e'].includes(kind) ? 2 : 1,
};
