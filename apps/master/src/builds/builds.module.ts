import { Module } from '@nestjs/common';
import { ArtifactsModule } from '../artifacts/index.js';
import { BuildersModule } from '../builders/index.js';
import { SchedulingModule } from '../scheduling/index.js';
import { BuilderList } from './builder-list.js';
import { BuildersController, BuildsController } from './builds.controller.js';
import { Builds } from './builds.js';
import { RequestsController } from './requests.controller.js';
import { Requests } from './requests.js';

/** What people ask for and what became of it: requests, builds, and builders with their last build. */
@Module({
  imports: [ArtifactsModule, BuildersModule, SchedulingModule],
  controllers: [RequestsController, BuildsController, BuildersController],
  providers: [Requests, Builds, BuilderList],
})
export class BuildsModule {}
