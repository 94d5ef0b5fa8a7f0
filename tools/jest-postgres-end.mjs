// Jest's global teardown: stops what jest-postgres.mjs started.
export default async function teardown() {
  await globalThis.impgemTestPostgres?.();
}
