import { Module } from '@nestjs/common';
import { EventsModule } from '../events/index.js';
import { LogsModule } from '../logs/index.js';
import { LiveHub } from './hub.js';
import { LiveGateway } from './live.gateway.js';
import { LiveShares } from './shares.js';

@Module({ imports: [EventsModule, LogsModule], providers: [LiveHub, LiveShares, LiveGateway] })
export class LiveModule {}
