export { ArtifactsModule } from './artifacts.module.js';
export { ArtifactReceiver } from './receiver.js';
export { Artifacts } from './artifacts.js';
export { Artifact } from './artifacts.controller.js';
