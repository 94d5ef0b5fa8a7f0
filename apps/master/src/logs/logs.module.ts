import { Module } from '@nestjs/common';
import { EventsModule } from '../events/index.js';
import { LogsController } from './logs.controller.js';
import { Logs } from './logs.js';
import { Partitions } from './partitions.js';
import { Sealer } from './sealer.js';
import { LogSearch } from './search.js';

@Module({
  imports: [EventsModule],
  controllers: [LogsController],
  providers: [Logs, LogSearch, Partitions, Sealer],
  exports: [Logs],
})
export class LogsModule {}
