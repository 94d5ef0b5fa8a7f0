import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import fastifyStatic from '@fastify/static';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

/** Paths that programs use: what is not there is a problem, never the page. */
const PROGRAMS = /^\/(api|health|metrics)(\/|$)/;

/**
 * Stricter than the policy of the edge, whose inline styles and data images the API's documentation needs: the
 * page brings its styles as files and sets the rest through the CSSOM. The browser tests fail when it breaks this.
 */
const PAGE_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "font-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'self'",
  "frame-ancestors 'none'",
].join(';');

/**
 * Serves the built page: files as they are, every other address the page itself, whose router knows it.
 * `below` is the path of the farm's public address, without a slash at its end, for a proxy that takes it off; most have none.
 * Vite names files under `assets/` after their content, so those may be kept for ever.
 */
export async function serveWebPage(
  http: FastifyInstance,
  folder: string,
  below: string,
): Promise<void> {
  const index = path.join(folder, 'index.html');
  const built = existsSync(index);
  // Its addresses are built as relative to itself, and it is served at many: each begins at the farm's own.
  const page = built ? readFileSync(index, 'utf8').replaceAll('="./', `="${below}/`) : '';
  if (built) await http.register(fastifyStatic, { root: folder, serve: false });
  http.get('/*', async (request: FastifyRequest, reply: FastifyReply) => {
    // As the router has decoded it: to `URL` a target such as `//[` is no address.
    const name = `/${(request.params as { '*': string })['*']}`;
    if (PROGRAMS.test(name)) return reply.callNotFound();
    if (!built)
      return reply
        .code(404)
        .type('text/plain; charset=utf-8')
        .send('The page is not built: run npm run build. The API is described at /api/docs.\n');
    reply.header('content-security-policy', PAGE_POLICY);
    if (name.startsWith('/assets/'))
      return reply.sendFile(name, { maxAge: '365d', immutable: true });
    const isFile =
      /\.[a-z0-9]+$/i.test(name) && existsSync(path.join(folder, path.normalize(name)));
    reply.header('cache-control', 'no-cache');
    return isFile && name !== '/index.html'
      ? reply.sendFile(name, { cacheControl: false })
      : reply.type('text/html; charset=utf-8').send(page);
  });
}
