export { ArtifactsModule } from './artifacts.module.js';
export { ArtifactReceiver } from './receiver.js';
