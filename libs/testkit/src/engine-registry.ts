import { createHash, randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

const MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const BLOCK = 512;

export interface TestRegistry {
  /** As the engine names it, e.g. `127.0.0.1:40123`. */
  address: string;
  /** Paths asked for, in order. */
  asked: string[];
  close(): Promise<void>;
}

const digestOf = (data: Buffer): string =>
  `sha256:${createHash('sha256').update(data).digest('hex')}`;

const octal = (value: number, length: number): string => value.toString(8).padStart(length, '0');

/** A layer with one file of so many random bytes, so that each registry's image is its own. */
function layerOf(size: number): Buffer {
  const header = Buffer.alloc(BLOCK);
  header.write('data');
  header.write(octal(0o644, 7), 100);
  header.write(octal(0, 7), 108);
  header.write(octal(0, 7), 116);
  header.write(octal(size, 11), 124);
  header.write(octal(0, 11), 136);
  header.write('        ', 148);
  header.write('0', 156);
  header.write('ustar\u000000', 257);
  const sum = header.reduce((all, byte) => all + byte, 0);
  header.write(`${octal(sum, 6)}\u0000 `, 148);
  const padding = Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);
  return Buffer.concat([header, randomBytes(size), padding, Buffer.alloc(2 * BLOCK)]);
}

/**
 * A registry on loopback, which engines talk plain HTTP to. It serves one image under every name, except that
 * names with `denied` are refused and the layer of names with `stuck` never ends.
 */
export async function startRegistry(arch = 'amd64'): Promise<TestRegistry> {
  const layer = layerOf(100_000);
  const config = Buffer.from(
    JSON.stringify({
      architecture: arch,
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
    }),
  );
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST,
      config: {
        mediaType: 'application/vnd.docker.container.image.v1+json',
        size: config.length,
        digest: digestOf(config),
      },
      layers: [
        {
          mediaType: 'application/vnd.docker.image.rootfs.diff.tar',
          size: layer.length,
          digest: digestOf(layer),
        },
      ],
    }),
  );
  const asked: string[] = [];
  const serve = ({ url = '', method }: IncomingMessage, response: ServerResponse): void => {
    asked.push(url);
    const send = (status: number, type: string, body: Buffer): void => {
      response.writeHead(status, {
        'content-type': type,
        'content-length': body.length,
        'docker-content-digest': digestOf(body),
      });
      response.end(method === 'HEAD' ? undefined : body);
    };
    if (url.includes('denied')) {
      const errors = [{ code: 'DENIED', message: 'not for you' }];
      send(403, 'application/json', Buffer.from(JSON.stringify({ errors })));
    } else if (url.includes('/manifests/')) send(200, MANIFEST, manifest);
    else if (url.endsWith(digestOf(config))) send(200, 'application/octet-stream', config);
    else if (url.endsWith(digestOf(layer)) && url.includes('stuck')) {
      response.writeHead(200, { 'content-length': layer.length });
      response.write(layer.subarray(0, 1000));
    } else if (url.endsWith(digestOf(layer))) send(200, 'application/octet-stream', layer);
    else send(200, 'application/json', Buffer.from('{}'));
  };
  const server: Server = createServer(serve);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  const { port } = server.address() as AddressInfo;
  return { address: `127.0.0.1:${port}`, asked, close };
}
