export { BuildersModule } from './builders.module.js';
export { type ActiveBuilder, Builders } from './builders.js';
