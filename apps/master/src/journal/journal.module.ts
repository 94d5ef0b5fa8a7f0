import { Module } from '@nestjs/common';
import { EventsModule } from '../events/index.js';
import { SchedulingModule } from '../scheduling/index.js';
import { Room } from './room.js';
import { Journal } from './journal.js';

@Module({
  imports: [EventsModule, SchedulingModule],
  providers: [Journal, Room],
  exports: [Journal],
})
export class JournalModule {}
