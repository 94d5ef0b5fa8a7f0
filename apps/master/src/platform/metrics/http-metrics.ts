import type { FastifyInstance } from 'fastify';
import { collectDefaultMetrics, Counter, Gauge, Histogram, register } from 'prom-client';
import type { Database } from '../database/database.js';

/** How often the lag of the event loop is looked at: the library's own 10 ms would keep an idle master awake. */
const LAG_EVERY_MS = 100;

/** Metrics of the process, of HTTP and of the database's being there, in prom-client's default registry. */
export function measure(http: FastifyInstance, database: Database): void {
  // One registry per process, several apps in tests.
  if (!register.getSingleMetric('process_cpu_user_seconds_total'))
    collectDefaultMetrics({ eventLoopMonitoringPrecision: LAG_EVERY_MS });
  const duration = once(
    'impgem_http_request_duration_seconds',
    (name) =>
      new Histogram({
        name,
        help: 'Time from the request to the end of its answer',
        labelNames: ['method', 'route', 'status'],
        buckets: [0.005, 0.02, 0.1, 0.5, 2, 10],
      }),
  );
  register.removeSingleMetric('impgem_database_up');
  register.registerMetric(
    new Gauge({
      name: 'impgem_database_up',
      help: '1 when the last contact with the database went well',
      collect(): void {
        this.set(database.status() === 'up' ? 1 : 0);
      },
      registers: [],
    }),
  );
  http.addHook('onResponse', (request, reply, done) => {
    // The pattern, not the address: a label has few values.
    const route = request.routeOptions.url ?? 'none';
    duration.observe(
      { method: request.method, route, status: String(reply.statusCode) },
      reply.elapsedTime / 1000,
    );
    done();
  });
}

/** Counts answers by problem code, so that every limit that is hit shows. */
export const problemCounter = once(
  'impgem_http_problems_total',
  (name) => new Counter({ name, help: 'Answers that are problems', labelNames: ['code'] }),
);

function once<M>(name: string, make: (name: string) => M): M {
  return (register.getSingleMetric(name) as M | undefined) ?? make(name);
}
