import { Catch, type ArgumentsHost, type ExceptionFilter } from '@nestjs/common';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { logger } from '../logging.js';
import { problemCounter } from '../metrics/http-metrics.js';
import { answerOf, PROBLEM_TYPE } from './problem.js';

const log = logger('http');

/** The one place where an error becomes an HTTP answer. */
@Catch()
export class ProblemFilter implements ExceptionFilter {
  catch(error: unknown, host: ArgumentsHost): void {
    // A gateway closes its socket itself.
    if (host.getType() !== 'http') throw error;
    const http = host.switchToHttp();
    const request = http.getRequest<FastifyRequest>();
    const reply = http.getResponse<FastifyReply>();
    const { problem, headers, unexpected } = answerOf(error);
    const facts = { method: request.method, url: request.url, code: problem.code };
    // Who hung up gets no answer; that a stream ended early then is no error of ours.
    const isGone = reply.raw.destroyed || request.raw.destroyed;
    if (unexpected && !isGone) log.error({ err: error, ...facts }, 'request failed');
    else log.debug(facts, problem.detail);
    problemCounter.inc({ code: problem.code });
    if (reply.raw.headersSent) {
      // Half an answer is out: cutting the connection is the only way to say that the rest is missing.
      reply.raw.destroy();
      return;
    }
    void reply.code(problem.status).headers(headers).type(PROBLEM_TYPE).send(problem);
  }
}
