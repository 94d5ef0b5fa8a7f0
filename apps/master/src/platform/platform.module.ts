import { Global, Module, type DynamicModule } from '@nestjs/common';
import { DataSource } from 'typeorm';
import { MasterConfig } from './config.js';
import { Database } from './database/database.js';
import { AboutController } from './health/about.controller.js';
import { HealthController } from './health/health.controller.js';
import { Lifecycle } from './health/lifecycle.js';
import { MetricsController } from './metrics/metrics.controller.js';
import { DataDisk } from './storage/data-disk.js';

/** What `main.ts` made before the application: who makes it ends it. */
export interface Platform {
  config: MasterConfig;
  database: Database;
  dataSource: DataSource;
  lifecycle: Lifecycle;
}

/** The ground that features stand on, injectable by class everywhere. */
@Global()
@Module({ controllers: [AboutController, HealthController, MetricsController] })
export class PlatformModule {
  static with({ config, database, dataSource, lifecycle }: Platform): DynamicModule {
    const providers = [
      { provide: MasterConfig, useValue: config },
      { provide: Database, useValue: database },
      { provide: DataSource, useValue: dataSource },
      { provide: Lifecycle, useValue: lifecycle },
      DataDisk,
    ];
    return {
      module: PlatformModule,
      providers,
      exports: [MasterConfig, Database, DataSource, Lifecycle, DataDisk],
    };
  }
}
