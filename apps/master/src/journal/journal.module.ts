import { Module } from '@nestjs/common';
import { EventsModule } from '../events/index.js';
import { SchedulingModule } from '../scheduling/index.js';
import { Journal } from './journal.js';

@Module({ imports: [EventsModule, SchedulingModule], providers: [Journal], exports: [Journal] })
export class JournalModule {}
