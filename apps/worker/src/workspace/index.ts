export { cacheAt } from './cache.js';
export type { Cache, MirrorLimits } from './cache.js';
export { checkout } from './checkout.js';
export type { CheckoutOptions, CheckedOut } from './checkout.js';
export { LeftOut, selectArtifacts } from './select-artifacts.js';
export type { ArtifactSelection, RefusedArtifact } from './select-artifacts.js';
