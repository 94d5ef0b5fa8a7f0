export * from './definition.js';
export { expand, type BuildName } from './expand.js';
export * from './plan.js';
export type { FileProblem } from './problem.js';
export * from './properties.js';
export * from './read-farm-file.js';
export * from './results.js';
export { FILE_LIMITS } from './yaml-tree.js';
export { labelProblem, nameProblem } from './references.js';
