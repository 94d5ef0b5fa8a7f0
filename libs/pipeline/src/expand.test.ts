import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { BuildPlan } from './plan.js';
import { expand } from './expand.js';
import { readFarmFile } from './read-farm-file.js';
import { resolveProperties } from './properties.js';
import type { BuilderDefinition } from './definition.js';
import { plainToInstance } from 'class-transformer';
import { validateSync } from 'class-validator';

/** Any code point. For `unit: 'binary'` fast-check first makes a table of them all, which takes more than a second. */
const character = fc
  .integer({ min: 0, max: 0x10f7ff })
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

function read(source: string): BuilderDefinition {
  const { farm, problems } = readFarmFile(source);
  const definition = farm?.builders.get('b');
  if (!definition) throw new Error(JSON.stringify(problems));
  return definition;
}

const FULL = read(`builders:
  b:
    source: { git: 'https://example.org/\${{ properties.repo }}.git', ref: '\${{ properties.ref }}' }
    image: 'debian:\${{ properties.suite }}'
    env: { A: builder, B: builder, N: 'n\${{ build.number }}-\${{ build.builder }}' }
    silence-timeout: 1m
    properties: { repo: hello, ref: main, suite: { default: bookworm, choices: [bookworm, trixie] }, my-note: }
    steps:
      - { name: one, run: make, env: { B: step, M: "\${{ format('{0}/{1}', properties.suite, properties.my-note) }}" } }
      - { name: two, run: make test, image: 'busybox:1.37', workdir: 'src/\${{ properties.repo }}', timeout: 5s, silence-timeout: 2s }
    artifacts: [out/*]
`);

describe('expand', () => {
  it('renders a plan with checkout first and artifacts last', () => {
    const properties = { repo: 'hello', ref: 'main', suite: 'bookworm' };
    const plan = expand(FULL, { name: 'b', number: 7, properties });
    const own = {
      CI: 'true',
      IMPGEM: 'true',
      IMPGEM_BUILDER: 'b',
      IMPGEM_BUILD_NUMBER: '7',
      IMPGEM_PROPERTY_REPO: 'hello',
      IMPGEM_PROPERTY_REF: 'main',
      IMPGEM_PROPERTY_SUITE: 'bookworm',
    };
    expect(plan).toEqual({
      builder: 'b',
      number: 7,
      source: { git: 'https://example.org/hello.git', ref: 'main' },
      steps: [
        { kind: 'checkout', name: 'checkout', env: {} },
        {
          kind: 'run',
          name: 'one',
          run: 'make',
          image: 'debian:bookworm',
          env: { ...own, A: 'builder', B: 'step', N: 'n7-b', M: 'bookworm/' },
          silenceTimeoutMs: 60_000,
        },
        {
          kind: 'run',
          name: 'two',
          run: 'make test',
          image: 'busybox:1.37',
          env: { ...own, A: 'builder', B: 'builder', N: 'n7-b' },
          workdir: 'src/hello',
          timeoutMs: 5000,
          silenceTimeoutMs: 2000,
        },
        { kind: 'artifacts', name: 'artifacts', env: {} },
      ],
      artifacts: ['out/*'],
      properties,
      timeoutMs: 3_600_000,
    });
    expect(validateSync(plainToInstance(BuildPlan, plan))).toEqual([]);
  });

  it('puts a value in as it is, without reading it again', () => {
    const definition = read(
      "builders: { b: { env: { A: '${{ properties.p }}' }, properties: { p: }, steps: [{ run: make }] } }",
    );
    fc.assert(
      fc.property(fc.string({ unit: character, maxLength: 50 }), (text) => {
        const value = `${text.replaceAll('\0', '')}\${{ build.number }}$(id)`;
        const { properties, problems } = resolveProperties(definition, { p: value });
        expect(problems).toEqual([]);
        const plan = expand(definition, { name: 'b', number: 1, properties });
        expect(plan.steps[0]?.env).toMatchObject({ A: value, IMPGEM_PROPERTY_P: value });
        expect(plan.steps[0]?.run).toBe('make');
      }),
    );
  });

  it('has neither checkout nor artifacts when there is nothing to do for them', () => {
    const plan = expand(read('builders: { b: { steps: [{ run: make }] } }'), {
      name: 'b',
      number: 1,
      properties: {},
    });
    expect(plan.steps.map(({ kind }) => kind)).toEqual(['run']);
  });

  it('refuses a plan that would leave the workspace', () => {
    expect(() =>
      expand(FULL, { name: 'b', number: 1, properties: { repo: '../..', ref: 'x', suite: 'y' } }),
    ).toThrow('workdir: the directory leaves the workspace with ..');
  });
});

describe('resolveProperties', () => {
  it('takes defaults, and leaves out what has none', () => {
    expect(resolveProperties(FULL, { ref: 'v1' })).toEqual({
      properties: { repo: 'hello', ref: 'v1', suite: 'bookworm' },
      problems: [],
    });
  });

  it.each([
    [{ rep: 'x' }, 'undeclared-property', 'properties.rep', 'did you mean repo?'],
    [
      { zzzzzzzz: 'x' },
      'undeclared-property',
      'properties.zzzzzzzz',
      'it has repo, ref, suite, my-note',
    ],
    [{ suite: 'sid' }, 'invalid-property', 'properties.suite', 'one of bookworm, trixie'],
    [{ repo: 5 }, 'invalid-property', 'properties.repo', 'must be a text'],
    [{ repo: 'x'.repeat(1025) }, 'invalid-property', 'properties.repo', 'more than 1024'],
    [{ repo: 'a\0b' }, 'invalid-property', 'properties.repo', 'NUL'],
    [{ repo: '../../x' }, 'invalid-property', 'properties', 'leaves the workspace'],
    [{ suite: '\ud83d' }, 'invalid-property', 'properties.suite', 'surrogate'],
    [{ ref: '--upload-pack=x' }, 'invalid-property', 'properties', 'not a branch, tag or commit'],
    [{ ['__proto__']: 'x' }, 'undeclared-property', 'properties.__proto__', 'no property'],
  ])('refuses %j', (given, code, path, message) => {
    const { problems } = resolveProperties(FULL, given);
    expect(problems).toEqual([{ code, path, message: expect.stringContaining(message) }]);
  });

  it('takes no credentials for the address of the source from a value', () => {
    const open = read(
      "builders: { b: { source: '${{ properties.url }}', properties: { url: null }, steps: [{ run: x }] } }",
    );
    const { problems } = resolveProperties(open, { url: 'https://me:s3cret@host/x' });
    expect(problems).toMatchObject([{ code: 'invalid-property' }]);
    expect(problems[0]?.message).toMatch(/ssh key/);
    expect(problems[0]?.message).not.toContain('s3cret');
  });

  it('expands what was applied before credentials were refused', () => {
    const old = { ...FULL, source: { git: 'https://me:${{ properties.repo }}@host/x.git' } };
    const plan = expand(old, { name: 'b', number: 1, properties: { repo: 't', ref: 'main' } });
    expect(plan.source?.git).toBe('https://me:t@host/x.git');
  });

  it('asks for a required one', () => {
    const definition = read(
      'builders: { b: { properties: { p: { required: true } }, steps: [{ run: make }] } }',
    );
    for (const given of [{}, { p: '' }])
      expect(resolveProperties(definition, given).problems[0]?.message).toBe(
        'it must be given, and not be empty',
      );
    expect(resolveProperties(definition, { p: 'x' })).toEqual({
      properties: { p: 'x' },
      problems: [],
    });
  });
});
