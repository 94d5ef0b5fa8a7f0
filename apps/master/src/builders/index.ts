export { BuildersModule } from './builders.module.js';
