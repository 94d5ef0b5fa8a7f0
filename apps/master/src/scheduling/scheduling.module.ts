import { Module } from '@nestjs/common';
import { EventsModule } from '../events/index.js';
import { Dispatcher } from './dispatcher.js';
import { Intake } from './intake.js';
import { LeaseSweep } from './lease-sweep.js';
import { Leases } from './leases.js';
import { Queue } from './queue.js';
import { QueueBound } from './queue-bound.js';
import { QueueMetrics } from './queue-metrics.js';

@Module({
  imports: [EventsModule],
  providers: [Queue, QueueBound, Intake, Leases, Dispatcher, LeaseSweep, QueueMetrics],
  exports: [Queue, QueueBound, Intake, Leases, Dispatcher],
})
export class SchedulingModule {}
