import { Module } from '@nestjs/common';
import { AccessModule } from '../access/index.js';
import { RetentionController } from './retention.controller.js';
import { Retention } from './retention.js';

@Module({ imports: [AccessModule], controllers: [RetentionController], providers: [Retention] })
export class RetentionModule {}
