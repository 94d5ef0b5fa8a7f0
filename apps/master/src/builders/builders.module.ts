import { Module } from '@nestjs/common';
import { EventsModule } from '../events/index.js';
import { Builders } from './builders.js';
import { FarmController } from './farm.controller.js';

@Module({
  imports: [EventsModule],
  controllers: [FarmController],
  providers: [Builders],
  exports: [Builders],
})
export class BuildersModule {}
