export { BuildersModule } from './builders.module.js';
export { Builders, type ActiveBuilder } from './builders.js';
