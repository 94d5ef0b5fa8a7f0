import { Module } from '@nestjs/common';
import { ArtifactReceiver } from './receiver.js';

@Module({ providers: [ArtifactReceiver], exports: [ArtifactReceiver] })
export class ArtifactsModule {}
