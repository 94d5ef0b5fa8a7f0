import { fileURLToPath } from 'node:url';
import { NestFactory } from '@nestjs/core';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { AppModule } from './app.module.js';
import type { Platform } from './platform/index.js';
import { fastifyAdapter, prepareHttp } from './platform/http/http-edge.js';
import { nestLogger } from './platform/nest-logger.js';

const WEB_PAGE = fileURLToPath(new URL('../../web/dist', import.meta.url));

/** The application on its platform, neither initialised nor listening: no I/O has happened yet. */
export async function createApp(platform: Platform): Promise<NestFastifyApplication> {
  const app = await NestFactory.create<NestFastifyApplication>(
    AppModule.with(platform),
    fastifyAdapter(platform),
    { logger: nestLogger, abortOnError: false },
  );
  await prepareHttp(app, platform, platform.config.webDir ?? WEB_PAGE);
  return app;
}
