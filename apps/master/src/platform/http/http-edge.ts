import cookie from '@fastify/cookie';
import helmet from '@fastify/helmet';
import { loadPackage } from '@nestjs/common/internal';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import type { FastifyInstance } from 'fastify';
import { FarmError } from '@impgem/kit';
import type { Platform } from '../platform.module.js';
import { logger } from '../logging.js';
import { measure, problemCounter } from '../metrics/http-metrics.js';
import { boundInput } from './input-bounds.js';
import { openApiDocument, serveDocs } from './openapi.js';
import { ProblemFilter } from './problem.filter.js';
import { answerOf, PROBLEM_TYPE } from './problem.js';
import type { RouteRules } from './route-access.js';
import { validationPipe } from './validation.js';
import { trustOf } from './client-address.js';
import { SilentConnections } from './silent-connections.js';
import { ownErrors } from './raw-sockets.js';
import { serveWebPage } from './web-page.js';
import { FarmWsAdapter } from './ws-adapter.js';

const log = logger('http');

const REQUEST_TIMEOUT_MS = 60_000;
/** With peers that send nothing, or slowly: the TLS handshake, then the headers; the whole of a request has the above. */
const PATIENCE = {
  handshakeTimeout: 10_000,
  headersTimeout: 15_000,
  connectionsCheckingInterval: 5000,
};
const YAML = ['application/yaml', 'application/x-yaml', 'text/yaml', 'text/x-yaml'];

export function fastifyAdapter({ config }: Pick<Platform, 'config'>): FastifyAdapter {
  return new FastifyAdapter({
    logger: false,
    trustProxy: trustOf(config.trustProxy),
    bodyLimit: config.limits.bodyBytes,
    requestTimeout: REQUEST_TIMEOUT_MS,
    routerOptions: { maxParamLength: 2048 },
    ...(config.tls ? { https: { ...config.tls, ...PATIENCE } } : { http: PATIENCE }),
  });
}

/** Everything between the socket and the controllers. Call it before `app.init()`. */
export async function prepareHttp(
  app: NestFastifyApplication,
  { config, database, lifecycle }: Platform,
  webDir: string,
): Promise<void> {
  const http = app.getHttpAdapter().getInstance();
  ownErrors(http.server);
  new SilentConnections(config.limits, trustOf(config.trustProxy)).watch(http.server);
  http.addHook('onRequest', (request, reply, done) => {
    if (lifecycle.state !== 'stopping' || request.url.startsWith('/health/')) return done();
    const { problem, headers } = answerOf(
      new FarmError('stopping', 'the master is about to stop; another one will answer'),
    );
    problemCounter.inc({ code: problem.code });
    void reply.code(503).headers({ ...headers, connection: 'close' });
    void reply.type(PROBLEM_TYPE).send(problem);
  });
  http.addHook('onSend', (_request, reply, payload, done) => {
    // A request that was running when the stop began would leave its connection open until it times out.
    if (lifecycle.state === 'stopping') void reply.header('connection', 'close');
    done(null, payload);
  });
  http.addHook('onResponse', (request, reply, done) => {
    const { method, url } = request;
    log.debug(
      { method, url, status: reply.statusCode, ms: Math.round(reply.elapsedTime) },
      'served',
    );
    done();
  });
  // Where it is read before it is known who sends it, a body is small.
  http.addHook('onRoute', (route) => {
    const { bodyBytes } = (route.config ?? {}) as RouteRules;
    if (bodyBytes !== undefined) route.bodyLimit = bodyBytes;
  });
  measure(http, database);
  boundInput(http as FastifyInstance);
  await app.register(cookie);
  await app.register(helmet, security(config.publicUrl.startsWith('https:')));
  // A farm file as it is, for the feature that reads it.
  http.addContentTypeParser(YAML, { parseAs: 'string' }, (_request, body, done) =>
    done(null, body),
  );
  // The adapter would look for a package, and a bundle has none: from here it takes ours.
  await loadPackage('ws', 'WsAdapter', () => import('ws'));
  app.useWebSocketAdapter(new FarmWsAdapter(app, config.limits));
  app.useGlobalPipes(validationPipe());
  app.useGlobalFilters(new ProblemFilter());
  const below = new URL(config.publicUrl).pathname.replace(/\/+$/, '');
  await serveDocs(http as FastifyInstance, () => openApiDocument(app), below);
  await serveWebPage(http as FastifyInstance, webDir, below);
}

/** A strict policy of content: own files only, no inline script; styles may be inline, since Mantine sets them. */
function security(https: boolean) {
  return {
    contentSecurityPolicy: {
      useDefaults: false,
      directives: {
        defaultSrc: ["'none'"],
        scriptSrc: ["'self'"],
        styleSrc: ["'self'", "'unsafe-inline'"],
        imgSrc: ["'self'", 'data:'],
        fontSrc: ["'self'"],
        connectSrc: ["'self'"],
        manifestSrc: ["'self'"],
        baseUri: ["'none'"],
        formAction: ["'self'"],
        frameAncestors: ["'none'"],
      },
    },
    strictTransportSecurity: https
      ? { maxAge: 15_552_000, includeSubDomains: false }
      : (false as const),
    referrerPolicy: { policy: 'no-referrer' as const },
    xFrameOptions: { action: 'deny' as const },
  };
}
