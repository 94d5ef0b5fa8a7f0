import { createRequire } from 'node:module';
import path from 'node:path';
import fastifyStatic from '@fastify/static';
import type { INestApplication } from '@nestjs/common';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import type { FastifyInstance } from 'fastify';
import { PROBLEM_CODES } from '@impgem/client';

/** The document of all routes, made from the decorators. Needs no database. */
export function openApiDocument(app: INestApplication): OpenAPIObject {
  const shape = new DocumentBuilder()
    .setTitle('Imp Gem')
    .setDescription(
      'The REST interface of the build farm. Lists come in pages (`after`, `limit`); errors are RFC 9457 problems with a registered `code`.',
    )
    .setVersion('1')
    .addBearerAuth({ type: 'http', scheme: 'bearer', bearerFormat: 'igt_<id>_<secret>' })
    .build();
  const document = SwaggerModule.createDocument(app, shape, {
    operationIdFactory: (controller, method) =>
      `${controller.replace(/Controller$/, '').replace(/^./, (c) => c.toLowerCase())}_${method}`,
  });
  document.components = {
    ...document.components,
    schemas: { ...document.components?.schemas, Problem: PROBLEM },
  };
  for (const item of Object.values(document.paths))
    for (const operation of Object.values(item as Record<string, Operation>)) {
      if (operation.responses) operation.responses.default ??= PROBLEM_RESPONSE;
      // the address of the document says {path} for the rest that a route's * takes
      for (const parameter of operation.parameters ?? [])
        if (parameter.name === '*') parameter.name = 'path';
    }
  return document;
}

interface Operation {
  responses?: Record<string, unknown>;
  parameters?: { name?: string }[];
}

type Schema = NonNullable<NonNullable<OpenAPIObject['components']>['schemas']>[string];

const PROBLEM: Schema = {
  type: 'object',
  required: ['type', 'title', 'status', 'code', 'detail'],
  properties: {
    type: { type: 'string' },
    title: { type: 'string' },
    status: { type: 'integer' },
    code: { type: 'string', enum: Object.keys(PROBLEM_CODES) },
    detail: { type: 'string' },
    problems: {
      type: 'array',
      items: {
        type: 'object',
        required: ['path', 'message'],
        properties: {
          path: { type: 'string' },
          message: { type: 'string' },
          line: { type: 'integer' },
          column: { type: 'integer' },
        },
      },
    },
  },
};

const PROBLEM_RESPONSE = {
  description: 'A problem',
  content: { 'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } } },
};

/**
 * `/api/docs-json`, and `/api/docs` with Swagger UI. Open to everybody: it tells nothing that the source does
 * not. The page is ours and not the library's, which would need a policy that allows inline scripts.
 */
export async function serveDocs(
  http: FastifyInstance,
  document: () => OpenAPIObject,
  below: string,
): Promise<void> {
  let json: string | undefined;
  const files = path.dirname(
    createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'),
  );
  http.get('/api/docs-json', (_request, reply) =>
    reply.type('application/json; charset=utf-8').send((json ??= JSON.stringify(document()))),
  );
  http.get('/api/docs', (_request, reply) =>
    reply.type('text/html; charset=utf-8').send(PAGE.replaceAll('="/', `="${below}/`)),
  );
  http.get('/api/docs/start.js', (_request, reply) =>
    reply.type('text/javascript; charset=utf-8').send(START.replace("'/", `'${below}/`)),
  );
  await http.register(fastifyStatic, {
    root: files,
    prefix: '/api/docs/',
    decorateReply: false,
    index: false,
    allowedPath: (name) => /^\/(swagger-ui(-bundle)?\.(css|js)|favicon-32x32\.png)$/.test(name),
  });
}

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Imp Gem API</title>
<link rel="icon" href="/api/docs/favicon-32x32.png">
<link rel="stylesheet" href="/api/docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="/api/docs/swagger-ui-bundle.js"></script>
<script src="/api/docs/start.js"></script>
</body>
</html>
`;
const START = `SwaggerUIBundle({ url: '/api/docs-json', dom_id: '#docs' });\n`;
