export { BuildersModule } from './builders.module.js';
export { Builders } from './builders.js';
