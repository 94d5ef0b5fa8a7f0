import { describe, expect, it } from '@jest/globals';
import * as fc from 'fast-check';
import { readFarmFile } from './read-farm-file.js';

/** Any code point. For `unit: 'binary'` fast-check first makes a table of them all, which takes more than a second. */
const character = fc
  .integer({ min: 0, max: 0x10f7ff })
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

const HELLO = `builders:
  hello:
    description: Says hello
    source: { git: https://example.org/hello.git, ref: main }
    image: debian:bookworm-slim
    labels: [os=linux]
    workers: [one]
    env: { A: b, VERSION: 1.10, DEBUG: true, NONE: }
    properties:
      who: { default: world, description: whom to greet, choices: [world, moon] }
      how: politely
      what: { required: true }
    timeout: 1h30m
    silence-timeout: 20m
    retry: { failure: 1 }
    lost-after: 5m
    steps:
      - name: build
        run: make
        image: gcc:14
        env: { WHO: "\${{ properties.who }}" }
        workdir: sub
        timeout: 5m
        silence-timeout: 30s
        output: merged
      - run: |
          make test
          make install
    artifacts: ['out/*.bin']
`;

/** The problems of a file, as lines of text. */
const problems = (source: string) =>
  readFarmFile(source).problems.map((p) => `${p.line}:${p.column} ${p.path}: ${p.message}`);

/** A file with one builder `b` of one step, and more lines in the builder. */
const builder = (...lines: string[]) =>
  [
    'builders:',
    '  b:',
    ...lines.map((l) => `    ${l}`),
    '    steps: [{ name: s, run: make }]',
    '',
  ].join('\n');

describe('readFarmFile', () => {
  it('reads every key of a builder', () => {
    const { farm, problems } = readFarmFile(HELLO);
    expect(problems).toEqual([]);
    expect(farm?.builders.get('hello')).toEqual({
      description: 'Says hello',
      source: { git: 'https://example.org/hello.git', ref: 'main' },
      image: 'debian:bookworm-slim',
      labels: ['os=linux'],
      workers: ['one'],
      env: { A: 'b', VERSION: '1.10', DEBUG: 'true', NONE: '' },
      properties: {
        who: {
          required: false,
          description: 'whom to greet',
          default: 'world',
          choices: ['world', 'moon'],
        },
        how: { required: false, default: 'politely' },
        what: { required: true },
      },
      timeoutMs: 90 * 60_000,
      silenceTimeoutMs: 20 * 60_000,
      retry: { infrastructure: 2, failure: 1 },
      lostAfterMs: 300_000,
      steps: [
        {
          name: 'build',
          run: 'make',
          image: 'gcc:14',
          env: { WHO: '${{ properties.who }}' },
          workdir: 'sub',
          timeoutMs: 300_000,
          silenceTimeoutMs: 30_000,
          output: 'merged',
        },
        { name: 'make test', run: 'make test\nmake install\n', env: {} },
      ],
      artifacts: ['out/*.bin'],
    });
  });

  it('takes numbers as names of builders', () => {
    const step = '{ steps: [{ run: make }] }';
    const { farm } = readFarmFile(`builders: { z: ${step}, '10': ${step}, a: ${step} }`);
    expect([...(farm?.builders.keys() ?? [])].sort()).toEqual(['10', 'a', 'z']);
  });

  it('survives a round through JSON', () => {
    const definition = readFarmFile(HELLO).farm?.builders.get('hello');
    expect(JSON.parse(JSON.stringify(definition))).toEqual(definition);
  });

  it.each([
    [
      'an unknown key',
      builder('imgae: debian'),
      '3:5 builders.b.imgae: a builder has no key imgae; did you mean image?',
    ],
    [
      'a key of GitHub',
      builder('timeout-minutes: 5'),
      '3:5 builders.b.timeout-minutes: a builder has no key timeout-minutes; write timeout, e.g. timeout: 30m',
    ],
    [
      'an unknown key at the top',
      'bilders: {}',
      '1:1 bilders: the file has no key bilders; did you mean builders?',
    ],
    [
      'an unknown key of a step',
      'builders: { b: { steps: [{ run: make, nmae: x }] } }',
      '1:39 builders.b.steps[0].nmae: a step has no key nmae; did you mean name?',
    ],
    [
      'a text that a comma has cut',
      'builders: { b: { steps: [{ run: echo "a, b" }] } }',
      '1:42 builders.b.steps[0]["b\\""]: a step has no key b"; when it belongs to the text before it, put that text in quotes',
    ],
    [
      'an unknown key of a source',
      builder('source: { git: x, branch: y }'),
      '3:23 builders.b.source.branch: a source has no key branch; it may have git, ref',
    ],
    [
      'an unknown key of a property',
      builder('properties: { p: { defautl: 1 } }'),
      '3:24 builders.b.properties.p.defautl: a property has no key defautl; did you mean default?',
    ],
    [
      'a wrong type',
      builder('labels: linux'),
      '3:13 builders.b.labels: labels must be a list of labels, but is a text',
    ],
    [
      'a wrong type of a text',
      builder('image: 12'),
      '3:12 builders.b.image: image must be a text, but is a number',
    ],
    [
      'a wrong type in a list',
      builder('labels: [[a]]'),
      '3:13 builders.b.labels: each label must be a text',
    ],
    [
      'a silence that is no duration',
      builder('silence-timeout: long'),
      '3:22 builders.b.silence-timeout: "long" is not a duration; write 90s, 30m, 1h30m or 2d',
    ],
    [
      'a number as a timeout',
      builder('timeout: 30'),
      '3:14 builders.b.timeout: timeout must be a text such as 90s, 30m or 1h30m, but is a number',
    ],
    [
      'a bad duration',
      builder('timeout: 5 minutes'),
      '3:14 builders.b.timeout: "5 minutes" is not a duration; write 90s, 30m, 1h30m or 2d',
    ],
    [
      'an output that there is not',
      'builders: { b: { steps: [{ name: s, run: make, output: both }] } }',
      '1:56 builders.b.steps[0].output: output must be separate or merged',
    ],
    [
      'a duration of nothing',
      builder('timeout: 0s'),
      '3:14 builders.b.timeout: "0s" is not a duration; write 90s, 30m, 1h30m or 2d',
    ],
    [
      'a duration too long',
      builder('timeout: 8d'),
      '3:14 builders.b.timeout: no duration is longer than 7d',
    ],
    [
      'a number as a retry',
      builder('retry: 2'),
      '3:12 builders.b.retry: retry must be a map with infrastructure and failure, but is a number',
    ],
    [
      'an unknown key of a retry',
      builder('retry: { failures: 2 }'),
      '3:14 builders.b.retry.failures: a retry has no key failures; did you mean failure?',
    ],
    [
      'more retries than there may be',
      builder('retry: { infrastructure: 11 }'),
      '3:30 builders.b.retry.infrastructure: infrastructure must be a whole number from 0 to 10, but is 11',
    ],
    [
      'half a retry',
      builder('retry: { failure: 0.5 }'),
      '3:23 builders.b.retry.failure: failure must be a whole number from 0 to 10, but is 0.5',
    ],
    [
      'a silence that may only be a cut',
      builder('lost-after: 30s'),
      '3:17 builders.b.lost-after: a worker may be silent for 1m at least: it may only be a cut',
    ],
    [
      'a lost-after in the words of the master',
      builder('lostAfter: 5m'),
      '3:5 builders.b.lostAfter: a builder has no key lostAfter; did you mean lost-after?',
    ],
    [
      'no steps',
      'builders:\n  b:\n    image: x',
      '3:5 builders.b.steps: the builder has no steps: list at least one',
    ],
    [
      'empty steps',
      'builders:\n  b:\n    steps: []',
      '3:12 builders.b.steps: steps is empty: list at least one step',
    ],
    [
      'a step without run',
      'builders: { b: { steps: [{ name: x }] } }',
      '1:26 builders.b.steps[0].run: the step has no run: say what it shall do',
    ],
    [
      'a builder that is a text',
      'builders: { b: make }',
      '1:16 builders.b: a builder must be a map with steps, but is a text',
    ],
    [
      'no builders',
      'builders: {}',
      '1:11 builders: builders is empty: define at least one builder',
    ],
    ['an empty file', '', '1:1 : the file is empty; begin it with builders:'],
    ['a list', '- a', '1:1 : the file must be a map, but is a list; begin it with builders:'],
    [
      'a duplicate builder',
      'builders:\n  b: { steps: [{ run: make }] }\n  b: { steps: [{ run: make }] }',
      '3:3 builders.b: b stands here twice; the first is in line 2',
    ],
    [
      'an absolute directory',
      'builders: { b: { steps: [{ run: make, workdir: /etc }] } }',
      '1:48 builders.b.steps[0].workdir: the directory is absolute; give it relative to the workspace',
    ],
    [
      'a directory outside',
      'builders: { b: { steps: [{ run: make, workdir: a/../.. }] } }',
      '1:48 builders.b.steps[0].workdir: the directory leaves the workspace with ..',
    ],
    [
      'an absolute glob',
      builder('artifacts: [/etc/passwd]'),
      '3:17 builders.b.artifacts[0]: the glob is absolute; give it relative to the workspace',
    ],
    [
      'a glob outside',
      builder("artifacts: ['../*']"),
      '3:17 builders.b.artifacts[0]: the glob leaves the workspace with ..',
    ],
    [
      'an open bracket in a glob',
      builder("artifacts: ['a[b']"),
      '3:17 builders.b.artifacts[0]: "a[b" is not a glob: Missing closing: "]" - use "\\\\]" to match literal characters',
    ],
    [
      'an extended glob',
      builder("artifacts: ['+(a|a)*']"),
      '3:17 builders.b.artifacts[0]: extended globs such as +(a|b) are not supported; use {a,b}',
    ],
    [
      'a bad name of a variable',
      builder('env: { A-B: c }'),
      '3:12 builders.b.env.A-B: "A-B" is not the name of a variable: letters, digits and _, no digit first',
    ],
    [
      'a variable of the farm',
      builder('env: { IMPGEM_BUILDER: c }'),
      '3:12 builders.b.env.IMPGEM_BUILDER: IMPGEM_BUILDER is set by the farm itself',
    ],
    [
      'a variable that is a list',
      builder('env: { A: [c] }'),
      '3:15 builders.b.env.A: the value must be a text, but is a list',
    ],
    [
      'a bad label',
      builder('labels: [a b]'),
      '3:14 builders.b.labels[0]: "a b" is not a label: write name or name=value, such as os=linux',
    ],
    [
      'a default that is no choice',
      builder('properties: { p: { default: a, choices: [b] } }'),
      '3:33 builders.b.properties.p.default: the default is not one of the choices: b',
    ],
    [
      'two properties of one variable',
      builder('properties: { a-b: 1, a_b: 2 }'),
      '3:27 builders.b.properties.a_b: a_b and a-b would share a variable',
    ],
    [
      'an undeclared property',
      builder('properties: { who: x }', 'image: "a:${{ properties.hwo }}"'),
      '4:15 builders.b.image: the property hwo is not declared; did you mean who?',
    ],
    [
      'a bad expression',
      builder('image: "a:${{ properties. }}"'),
      "3:15 builders.b.image: ${{ properties. }} is not an expression: Unexpected symbol: 'EOF'",
    ],
    [
      'an expression without end',
      builder('image: "a:${{ build.number"'),
      '3:15 builders.b.image: an expression that begins with ${{ ends with }}',
    ],
    [
      'an unknown function',
      builder('image: "${{ toJson(build.number) }}"'),
      '3:13 builders.b.image: there is no function toJson; there are contains, startsWith, endsWith, format',
    ],
    [
      'an expression where none works',
      builder('labels: ["${{ properties.a }}"]'),
      '3:15 builders.b.labels[0]: expressions work in env, image, source and workdir only',
    ],
    [
      'an option as a git address',
      builder('source: --upload-pack=evil'),
      '3:13 builders.b.source: "--upload-pack=evil" is not the address of a git repository',
    ],
    [
      'a program as a git address',
      builder('source: "ext::sh -c evil"'),
      '3:13 builders.b.source: "ext::sh -c evil" names a remote helper; give an https, ssh, git or file address',
    ],
    [
      'an option as a ref',
      builder('source: { git: x, ref: --evil }'),
      '3:28 builders.b.source.ref: "--evil" is not a branch, tag or commit',
    ],
    [
      'an image that is none',
      builder('image: --privileged'),
      '3:12 builders.b.image: "--privileged" is not the name of an image, such as debian:bookworm-slim',
    ],
    [
      'YAML that is none',
      'builders: {',
      '1:12 : Flow map in block collection must be sufficiently indented and end with a }',
    ],
    ['an unknown anchor', 'builders: *x', '1:11 builders: there is no anchor &x above'],
    ['an unknown tag', 'builders: !x {}', '1:11 : Unresolved tag: !x'],
    [
      'a key that would reach a prototype',
      'builders:\n  __proto__: { a: 1 }',
      '2:3 builders: __proto__ is not a key',
    ],
  ])('tells %s, with its place', (_, source, problem) => {
    expect(problems(source)).toContain(problem);
    expect(readFarmFile(source).farm).toBeUndefined();
  });

  it('tells a duplicate step name and who has it', () => {
    const steps =
      'steps:\n      - { name: a, run: x }\n      - { name: a, run: y }\n      - { name: checkout, run: z }';
    expect(problems(`builders:\n  b:\n    source: x\n    ${steps}`)).toEqual([
      '6:17 builders.b.steps[1].name: the name a is taken by step 1; give each step a name of its own',
      '7:17 builders.b.steps[2].name: the name checkout is taken by the farm, for the source; give each step a name of its own',
    ]);
  });

  it('makes default names unique, of whole characters, and lets those that are said go first', () => {
    const long = 'echo a long line that does the same as another up to its sixtieth character';
    const runs = [
      `${long} one`,
      `${long} two`,
      'make',
      'make',
      'make\n# more',
      `${'x'.repeat(59)}😀 end`,
      `${'漢'.repeat(59)}e\u0301`,
      'checkout',
      'a\u001b[31mb\r',
      '\u0085',
    ].map((run) => ({ run }));
    const steps = [...runs, { name: 'make (2)', run: 'x' }];
    const { farm, problems } = readFarmFile(
      JSON.stringify({ builders: { b: { source: 'x', steps } } }),
    );
    expect(problems).toEqual([]);
    expect(farm?.builders.get('b')?.steps.map(({ name }) => name)).toEqual([
      long.slice(0, 60).trim(),
      `${long.slice(0, 56).trim()} (2)`,
      'make',
      'make (3)',
      'make (4)',
      'x'.repeat(59),
      '漢'.repeat(59),
      'checkout (2)',
      'a [31mb',
      'step',
      'make (2)',
    ]);
  });

  it.each([
    'https://s3cret@host/x.git',
    'https://me:s3cret@host/x.git',
    'HTTPS://s3cret@host/x.git',
    'git+https://s3cret@host/x.git',
    'https:me:s3cret@host/x.git',
    'https://s3cret@[::1]:8443/x.git',
    'ssh://git:s3cret@host/x.git',
    'me:s3cret@host:team/x.git',
    'https://host/x.git?private_token=s3cret',
    'https://s3cret%40host/x.git',
    'https://${{ properties.token }}@host/x.git',
    'https://oauth2:${{ properties.token }}@host/s3cret.git',
  ])('refuses credentials in the address of a source, and says how to do it right: %s', (git) => {
    const rest = { properties: { token: null }, steps: [{ run: 'x' }] };
    for (const source of [git, { git }]) {
      const said = problems(JSON.stringify({ builders: { b: { source, ...rest } } })).join('\n');
      expect(said).toContain(`builders.b.source${typeof source === 'string' ? '' : '.git'}: `);
      expect(said).toMatch(/ssh key.*netrc/);
      if (!git.includes('/s3cret')) expect(said).not.toContain('s3cret');
    }
  });

  it('says where a NUL or half a character stands, even in a comment', () => {
    expect(problems('builders:\n  # a\0\n')).toEqual([
      '2:6 : the text has a NUL or half of a surrogate pair in it',
    ]);
    expect(problems('# \ud83d')).toEqual([
      '1:3 : the text has a NUL or half of a surrogate pair in it',
    ]);
  });

  it('refuses an expression in run and says what to do instead, at the line of the expression', () => {
    const source =
      'builders:\n  b:\n    steps:\n      - run: |\n          make\n          echo ${{ properties.who }}\n';
    expect(problems(source)).toEqual([
      expect.stringMatching(
        /^6:16 builders\.b\.steps\[0\]\.run: .*set a variable in env and use "\$NAME"/,
      ),
    ]);
  });

  it('tells all problems of a file, in its order', () => {
    const source =
      'builders:\n  a: { imgae: x, steps: [{ run: make }] }\n  b: { steps: [] }\n  c: { timeout: x, steps: [{ run: make }] }';
    expect(readFarmFile(source).problems.map(({ line }) => line)).toEqual([2, 3, 4]);
  });

  it('goes on with what it can check behind an unknown key', () => {
    const source =
      'builders:\n  b:\n    imgae: x\n    steps:\n      - { run: a, nam: b, workdir: /etc }';
    expect(readFarmFile(source).problems.map(({ path }) => path)).toEqual([
      'builders.b.imgae',
      'builders.b.steps[0].nam',
      'builders.b.steps[0].workdir',
    ]);
  });

  it('takes aliases', () => {
    const { farm } = readFarmFile('builders:\n  a: &a { steps: [{ run: make }] }\n  b: *a\n');
    expect(farm?.builders.get('b')).toEqual(farm?.builders.get('a'));
  });

  it.each([
    ['a bomb of aliases', bomb(), 'more than 20000 values'],
    ['an alias inside itself', 'builders: &a [*a]', 'nested deeper than'],
    ['thousands of brackets', '['.repeat(30_000), 'nested'],
    ['thousands of closed brackets', `${'['.repeat(30_000)}${']'.repeat(30_000)}`, 'nested'],
    ['thousands of maps', '{a: '.repeat(20_000), ''],
    [
      'thousands of indents',
      Array.from({ length: 600 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
      'nested',
    ],
    [
      'thousands of keys',
      Array.from({ length: 21_000 }, (_, i) => `k${i}:`).join('\n'),
      'more than 20000 values',
    ],
    ['a file that is too big', '#'.repeat(256 * 1024 + 1), 'at most 262144'],
    ['thousands of aliases', `a: &a 1\nb: [${'*a,'.repeat(25_000)}]`, 'more than 20000 values'],
    ['thousands of errors', '"\n'.repeat(20_000), ''],
  ])('bounds %s', (_, source, message) => {
    const { farm, problems } = readFarmFile(source);
    expect(farm).toBeUndefined();
    expect(problems.length).toBeLessThanOrEqual(100);
    expect(problems[0]?.message).toContain(message);
  });

  it('bounds what a builder comes to with its environment in each step', () => {
    const steps = Array.from({ length: 400 }, (_, i) => `{ name: s${i}, run: x }`).join(', ');
    const source = `builders: { b: { env: { A: '${'x'.repeat(5000)}' }, steps: [${steps}] } }`;
    expect(problems(source).join()).toMatch(/at most 524288 are allowed/);
  });

  it('never throws on any text', () => {
    fc.assert(
      fc.property(fc.string({ unit: character, maxLength: 300 }), (text) => {
        const { farm, problems } = readFarmFile(text);
        return farm === undefined ? problems.length > 0 : problems.length === 0;
      }),
      { numRuns: 100 },
    );
  });

  it('never throws on any change of a good file', () => {
    const piece = fc.constantFrom(
      '[',
      ']',
      '{',
      '}',
      ':',
      '*a',
      '&a ',
      '- ',
      '\n',
      '  ',
      "'",
      '"',
      '|',
      '${{',
      '}}',
      '!!x',
      '?',
      '%',
      '\t',
      'null',
      '1',
    );
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(HELLO.length), fc.nat(30), piece), { minLength: 1, maxLength: 4 }),
        (edits) => {
          let text = HELLO;
          for (const [at, cut, put] of edits) text = text.slice(0, at) + put + text.slice(at + cut);
          const { farm, problems } = readFarmFile(text);
          for (const { line, column } of problems)
            expect([line, column].every((n) => (n ?? 0) >= 1)).toBe(true);
          return farm === undefined ? problems.length > 0 : problems.length === 0;
        },
      ),
      { numRuns: 150 },
    );
  });

  it.each([[[]], [[[]]], [5], [null], ['x']])('wants maps for steps, not %j', (...steps) => {
    const { farm, problems } = readFarmFile(JSON.stringify({ builders: { b: { steps } } }));
    expect(farm).toBeUndefined();
    expect(problems.map(({ message }) => message)).toEqual([
      'each step is a map, e.g. { name: test, run: make test }',
    ]);
  });

  it('never throws on any JSON', () => {
    const key = fc.constantFrom(
      'builders',
      'b',
      'steps',
      'run',
      'name',
      'env',
      'properties',
      'source',
      'git',
      'artifacts',
      'default',
      'choices',
      'retry',
      'failure',
      'lost-after',
      'constructor',
      'toString',
      '__proto__',
    );
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'medium' },
        fc.constantFrom(null, true, 1, 'x', '${{ build.number }}', -1e9),
        fc.array(tie('value'), { maxLength: 3 }),
        fc.dictionary(key, tie('value'), { maxKeys: 4 }),
      ),
    }));
    fc.assert(
      fc.property(value, (any) => {
        const { farm, problems } = readFarmFile(JSON.stringify({ builders: { b: any } }));
        return farm === undefined ? problems.length > 0 : problems.length === 0;
      }),
      { numRuns: 150 },
    );
  });
});

function bomb(): string {
  const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
  for (let i = 1; i < 12; i++)
    lines.push(`a${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join(', ')}]`);
  return lines.join('\n');
}
