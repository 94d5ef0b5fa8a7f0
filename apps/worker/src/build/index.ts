export { Builds } from './builds.js';
export type { BuildSurroundings } from './build-run.js';
export { Uploads, type ArtifactLink } from './uploads.js';
