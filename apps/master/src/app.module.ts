import { Module, type DynamicModule } from '@nestjs/common';
import { AccessModule } from './access/index.js';
import { ArtifactsModule } from './artifacts/index.js';
import { BuildersModule } from './builders/index.js';
import { BuildsModule } from './builds/index.js';
import { EventsModule } from './events/index.js';
import { JournalModule } from './journal/index.js';
import { LiveModule } from './live/index.js';
import { LogsModule } from './logs/index.js';
import { PlatformModule, type Platform } from './platform/index.js';
import { RetentionModule } from './retention/index.js';
import { SchedulingModule } from './scheduling/index.js';
import { WorkersModule } from './workers/index.js';

@Module({})
export class AppModule {
  static with(platform: Platform): DynamicModule {
    return {
      module: AppModule,
      imports: [
        PlatformModule.with(platform),
        AccessModule,
        EventsModule,
        BuildersModule,
        SchedulingModule,
        JournalModule,
        ArtifactsModule,
        LogsModule,
        BuildsModule,
        WorkersModule,
        LiveModule,
        RetentionModule,
      ],
    };
  }
}
