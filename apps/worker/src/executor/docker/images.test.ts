import { describe, expect, it } from '@jest/globals';
import { complete } from './images.js';
import { PullProgress } from './pull-progress.js';
import { registryOf } from './registry-credentials.js';

describe('an image reference', () => {
  it.each([
    ['busybox', 'busybox:latest'],
    ['busybox:1.37', 'busybox:1.37'],
    ['host:5000/team/app', 'host:5000/team/app:latest'],
    [`a/b@sha256:${'0'.repeat(64)}`, `a/b@sha256:${'0'.repeat(64)}`],
  ])('%s is completed to %s', (name, whole) => {
    expect(complete(name)).toBe(whole);
  });

  it.each(['', '-x', 'Busybox', 'a b', 'a:b:c', '../x', 'x@sha256:1', 'a/?x=1'])(
    '%j is none',
    (name) => {
      expect(() => complete(name)).toThrow(/no image reference/);
    },
  );

  it('names its registry', () => {
    expect(registryOf('debian:12')).toBe('https://index.docker.io/v1/');
    expect(registryOf('team/app:1')).toBe('https://index.docker.io/v1/');
    expect(registryOf('localhost/app')).toBe('localhost');
    expect(registryOf('reg.example:5000/app')).toBe('reg.example:5000');
  });
});

describe('PullProgress', () => {
  it('adds layers up', () => {
    const progress = new PullProgress();
    expect(progress.text()).toBe('asking the registry');
    progress.take({ id: 'a', status: 'Downloading', progressDetail: { current: 1e6, total: 4e6 } });
    progress.take({ id: 'b', status: 'Downloading', progressDetail: { current: 1e6, total: 1e6 } });
    expect(progress.text()).toBe('2.0 of 5.0 MB');
    progress.take({ id: 'a', status: 'Pull complete' });
    expect(progress.text()).toBe('unpacking 5.0 MB');
  });
});
