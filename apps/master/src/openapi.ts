/** The OpenAPI document without a running master, for tools/openapi.mjs and tests. */
import type { OpenAPIObject } from '@nestjs/swagger';
import { createApp } from './app.js';
import { dataSource } from './platform/database/data-source.js';
import { openApiDocument } from './platform/http/openapi.js';
import { Database, Lifecycle, readConfig } from './platform/index.js';

export async function openApi(): Promise<OpenAPIObject> {
  // Nothing connects: an application that is not initialised does no I/O.
  const url = 'postgres://nobody@127.0.0.1:1/none';
  const database = new Database({ url });
  const app = await createApp({
    config: readConfig({}),
    database,
    dataSource: dataSource(url),
    lifecycle: new Lifecycle(),
  });
  const document = openApiDocument(app);
  await database.close();
  return document;
}
