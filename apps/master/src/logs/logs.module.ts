import { Module } from '@nestjs/common';
import { LogsController } from './logs.controller.js';
import { Logs } from './logs.js';

@Module({ controllers: [LogsController], providers: [Logs], exports: [Logs] })
export class LogsModule {}
