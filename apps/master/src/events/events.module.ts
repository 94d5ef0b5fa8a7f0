import { Module } from '@nestjs/common';
import { EventsController } from './events.controller.js';
import { Events } from './events.js';

@Module({ controllers: [EventsController], providers: [Events], exports: [Events] })
export class EventsModule {}
