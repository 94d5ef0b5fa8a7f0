import { Module } from '@nestjs/common';
import { EventsModule } from '../events/index.js';
import { LogsModule } from '../logs/index.js';
import { LiveHub } from './hub.js';
import { LiveGateway } from './live.gateway.js';

@Module({ imports: [EventsModule, LogsModule], providers: [LiveHub, LiveGateway] })
export class LiveModule {}
