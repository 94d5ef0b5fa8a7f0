/** Commands that add a worker, to be pasted as they are. Pure. */

export interface NewWorker {
  /** The master's address as the browser knows it, e.g. `https://farm.example`. */
  master: string;
  /** `igr_…`. */
  token: string;
  /** Absent: the machine's host name. */
  name?: string;
}

export interface Recipe {
  id: 'impgem' | 'clone' | 'docker' | 'compose';
  title: string;
  /** What the machine needs. */
  needs: string;
  text: string;
}

/** Plain http beyond the own machine carries the credential in the clear: the worker wants to be told. */
export function isInsecure(master: string): boolean {
  const { protocol, hostname } = new URL(master);
  return protocol === 'http:' && !isLoopback(hostname);
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127(?:\.\d{1,3}){3}$/.test(hostname);
}

export function recipes(worker: NewWorker): Recipe[] {
  const settings: [string, string][] = [
    ['IMPGEM_MASTER_URL', worker.master],
    ['IMPGEM_REGISTRATION_TOKEN', worker.token],
    ...(worker.name ? [['IMPGEM_WORKER_NAME', worker.name] as [string, string]] : []),
    ...(isInsecure(worker.master) ? [['IMPGEM_ALLOW_INSECURE', '1'] as [string, string]] : []),
  ];
  const environment = settings.map(([name, value]) => `${name}=${value} \\`);
  const data = worker.name ? `impgem-${worker.name}` : 'impgem-worker';
  return [
    {
      id: 'impgem',
      title: 'impgem',
      needs: 'Node 20.19 or newer, the impgem command and a Docker Engine.',
      text: [...environment, 'impgem worker'].join('\n'),
    },
    {
      id: 'clone',
      title: 'From a clone',
      needs: 'A clone of Imp Gem that is built (npm ci && npm run build) and a Docker Engine.',
      text: [...environment, 'node apps/worker/dist/main.js'].join('\n'),
    },
    {
      id: 'docker',
      title: 'docker run',
      needs:
        'A Docker Engine and the worker image (docker build -f docker/worker.Dockerfile -t impgem-worker .).',
      text: [
        `docker run -d --init --name ${data} --restart unless-stopped \\`,
        '  --group-add "$(stat -c %g /var/run/docker.sock)" \\',
        ...settings.map(([name, value]) => `  -e ${name}=${value} \\`),
        `  -v ${data}:/data \\`,
        '  -v /var/run/docker.sock:/var/run/docker.sock \\',
        ...(isLoopback(new URL(worker.master).hostname) ? ['  --network host \\'] : []),
        '  impgem-worker',
      ].join('\n'),
    },
    {
      id: 'compose',
      title: 'Compose',
      needs: 'The worker image; DOCKER_GID in .env is the group of /var/run/docker.sock.',
      text: compose(settings, data, isLoopback(new URL(worker.master).hostname)),
    },
  ];
}

function compose(settings: [string, string][], data: string, hostNetwork: boolean): string {
  return [
    'services:',
    '  worker:',
    '    image: impgem-worker',
    '    init: true',
    '    restart: unless-stopped',
    '    group_add:',
    `      - '\${DOCKER_GID:-999}'`,
    ...(hostNetwork ? ['    network_mode: host'] : []),
    '    environment:',
    ...settings.map(([name, value]) => `      ${name}: "${value}"`),
    '    volumes:',
    `      - ${data}:/data`,
    '      - /var/run/docker.sock:/var/run/docker.sock',
    'volumes:',
    `  ${data}: {}`,
  ].join('\n');
}

/** A worker's name as the master takes it; undefined when it is not one. */
export function workerName(text: string): string | undefined {
  const name = text.trim();
  return /^[a-z0-9][a-z0-9._-]{0,62}$/i.test(name) ? name : undefined;
}
