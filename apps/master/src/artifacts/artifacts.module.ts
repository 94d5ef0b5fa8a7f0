import { Module } from '@nestjs/common';
import { EventsModule } from '../events/index.js';
import { ArtifactsController } from './artifacts.controller.js';
import { Artifacts } from './artifacts.js';
import { ArtifactReceiver } from './receiver.js';

@Module({
  imports: [EventsModule],
  controllers: [ArtifactsController],
  providers: [ArtifactReceiver, Artifacts],
  exports: [ArtifactReceiver, Artifacts],
})
export class ArtifactsModule {}
