import { Module } from '@nestjs/common';
import { EventsModule } from '../events/index.js';
import { Builders } from './builders.js';
import { FarmChecker } from './farm-checker.js';
import { FarmController } from './farm.controller.js';

@Module({
  imports: [EventsModule],
  controllers: [FarmController],
  providers: [Builders, FarmChecker],
  exports: [Builders],
})
export class BuildersModule {}
