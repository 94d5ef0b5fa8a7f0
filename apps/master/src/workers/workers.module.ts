import { Module } from '@nestjs/common';
import { ArtifactsModule } from '../artifacts/index.js';
import { EventsModule } from '../events/index.js';
import { JournalModule } from '../journal/index.js';
import { SchedulingModule } from '../scheduling/index.js';
import { Registration } from './registration.js';
import { Sessions } from './sessions.js';
import { WorkerGateway } from './worker.gateway.js';
import { RegistrationTokensController, WorkersController } from './workers.controller.js';
import { Workers } from './workers.js';

/**
 * The machines that build: how they join, who they are, and their connections. Access is checked before the
 * first frame; the conversation itself is decided by `decideMaster` of the protocol.
 */
@Module({
  imports: [EventsModule, SchedulingModule, JournalModule, ArtifactsModule],
  controllers: [RegistrationTokensController, WorkersController],
  providers: [Registration, Workers, Sessions, WorkerGateway],
})
export class WorkersModule {}
