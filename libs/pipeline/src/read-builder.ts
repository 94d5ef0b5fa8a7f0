import { cutText } from '@impgem/kit';
import {
  DEFAULT_RETRY,
  type BuilderDefinition,
  type PropertyDefinition,
  type Retention,
  type StepDefinition,
} from './definition.js';
import {
  DEFAULT_BUILD_TIMEOUT_MS,
  MAX_TIMEOUT_MS,
  MIN_LOST_AFTER_MS,
  parseDuration,
} from './duration.js';
import { hasExpression, readTemplate } from './expressions.js';
import {
  BuilderInFile,
  kindOf,
  PropertyInFile,
  type RetentionInFile,
  type StepInFile,
} from './farm-file.js';
import { planSizeProblem } from './expand.js';
import type { FileProblem, Place } from './problem.js';
import {
  credentialProblem,
  gitProblem,
  globProblem,
  imageProblem,
  labelProblem,
  nameProblem,
  propertyNameProblem,
  propertyVariable,
  refProblem,
  valueProblem,
  variableProblem,
  workdirProblem,
} from './references.js';
import { retentionOf, retentionProblems } from './read-retention.js';
import { checkShape } from './shape.js';
import type { YamlTree } from './yaml-tree.js';

type Check = (text: string) => string | undefined;
/** Longest value of a property, in characters; as the worker protocol has it. */
export const MAX_PROPERTY = 1024;

/** Reads one builder; what is wrong with it gathers in `problems`. */
export class BuilderReader {
  readonly problems: FileProblem[] = [];
  #declared: string[] = [];

  constructor(
    readonly tree: YamlTree,
    readonly place: Place,
    /** What the file says for all builders. */
    readonly retention?: RetentionInFile,
  ) {}

  /** Undefined when there are problems. */
  read(value: unknown): BuilderDefinition | undefined {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      this.#say([], `a builder must be a map with steps, but is ${kindOf(value)}`);
      return undefined;
    }
    const plain = { ...value } as Record<string, unknown>;
    if (typeof plain.source === 'string') plain.source = { git: plain.source };
    if (!this.#isSound(BuilderInFile, plain, this.place)) return undefined;
    const builder = plain as unknown as BuilderInFile;
    const properties = this.#properties(builder.properties ?? {});
    this.#declared = Object.keys(properties);
    const definition: BuilderDefinition = {
      ...given({
        description: builder.description,
        image: this.#text(['image'], builder.image, imageProblem),
      }),
      ...this.#source(value as { source?: unknown }, builder),
      labels: this.#list('labels', builder.labels, labelProblem),
      workers: this.#list('workers', builder.workers, nameProblem),
      env: this.#env(['env'], builder.env),
      properties,
      timeoutMs: this.#timeout(['timeout'], builder.timeout) ?? DEFAULT_BUILD_TIMEOUT_MS,
      ...given({
        silenceTimeoutMs: this.#timeout(['silence-timeout'], builder['silence-timeout']),
      }),
      ...given({ retry: builder.retry && { ...DEFAULT_RETRY, ...given(builder.retry) } }),
      ...given({ lostAfterMs: this.#lostAfter(builder['lost-after']) }),
      ...given({ retention: this.#retention(builder.retention) }),
      steps: this.#steps(builder),
      artifacts: this.#list('artifacts', builder.artifacts, globProblem),
    };
    const size = planSizeProblem(definition);
    if (size) this.#say([], size);
    return this.problems.length > 0 ? undefined : definition;
  }

  #isSound(shape: new () => object, value: object, place: Place): boolean {
    const { problems, sound } = checkShape(this.tree, shape, value, place);
    this.problems.push(...problems);
    return sound;
  }

  #say(where: Place, message: string, spot: 'key' | 'value' | { within: string } = 'value'): void {
    this.problems.push(this.tree.problem([...this.place, ...where], message, spot));
  }

  #source(raw: { source?: unknown }, { source }: BuilderInFile): Partial<BuilderDefinition> {
    if (!source) return {};
    const at = typeof raw.source === 'string' ? ['source'] : ['source', 'git'];
    const git = this.#text(at, source.git, gitProblem) ?? '';
    const credentials = hasExpression(git) ? credentialProblem(git) : undefined;
    if (credentials) this.#say(at, credentials);
    const ref = this.#text(['source', 'ref'], source.ref, refProblem);
    return { source: { git, ...given({ ref }) } };
  }

  #steps(builder: BuilderInFile): StepDefinition[] {
    const taken = new Map<string, string>();
    if (builder.source) taken.set('checkout', 'by the farm, for the source');
    if (builder.artifacts?.length) taken.set('artifacts', 'by the farm, for the artifacts');
    builder.steps.forEach(({ name }, index) => {
      if (name === undefined || name === null) return;
      const by = taken.get(name);
      const place = ['steps', index, 'name'];
      if (by !== undefined)
        this.#say(place, `the name ${name} is taken ${by}; give each step a name of its own`);
      taken.set(name, by ?? `by step ${index + 1}`);
    });
    // What people say goes before what is made up, wherever it stands.
    const names = new Set(taken.keys());
    return builder.steps.map((step, index) =>
      this.#step(step, step.name ?? defaultName(step.run, names), ['steps', index]),
    );
  }

  #step(step: StepInFile, name: string, at: Place): StepDefinition {
    if (hasExpression(step.run))
      this.#say(
        [...at, 'run'],
        // A value that is put into a script is read by the shell as code.
        'expressions are not put into run, since the shell would run what a value says; set a variable in env ' +
          'and use "$NAME", or take "$IMPGEM_PROPERTY_NAME"',
        { within: '${{' },
      );
    if (step.run.includes('\0')) this.#say([...at, 'run'], 'run has a NUL character in it');
    if (step.run.trim() === '')
      this.#say([...at, 'run'], 'run is empty: say what the step shall do');
    if (step.name) this.#plain([...at, 'name'], name);
    const image = this.#text([...at, 'image'], step.image, imageProblem);
    const workdir = this.#text([...at, 'workdir'], step.workdir, workdirProblem);
    const timeoutMs = this.#timeout([...at, 'timeout'], step.timeout);
    const silence = step['silence-timeout'];
    const silenceTimeoutMs = this.#timeout([...at, 'silence-timeout'], silence);
    return {
      name,
      run: step.run,
      env: this.#env([...at, 'env'], step.env),
      ...given({
        image,
        workdir: workdir === '' ? undefined : workdir,
        timeoutMs,
        silenceTimeoutMs,
        output: step.output === 'merged' ? step.output : undefined,
      }),
    };
  }

  #env(at: Place, env: Record<string, unknown> | null | undefined): Record<string, string> {
    const read: Record<string, string> = {};
    for (const [name, value] of Object.entries(env ?? {})) {
      const problem = variableProblem(name);
      if (problem) this.#say([...at, name], problem, 'key');
      const text = this.#scalar([...at, name], value);
      read[name] = this.#text([...at, name], text, valueProblem) ?? '';
    }
    return read;
  }

  #properties(all: Record<string, unknown>): Record<string, PropertyDefinition> {
    const read: Record<string, PropertyDefinition> = {};
    const variables = new Map<string, string>();
    for (const [name, value] of Object.entries(all)) {
      const at = ['properties', name];
      const other = variables.get(propertyVariable(name));
      const problem =
        propertyNameProblem(name) ??
        (other === undefined ? undefined : `${name} and ${other} would share a variable`);
      if (problem) this.#say(at, problem, 'key');
      variables.set(propertyVariable(name), name);
      const property = this.#property(at, value);
      if (property) read[name] = property;
    }
    return read;
  }

  #property(at: Place, value: unknown): PropertyDefinition | undefined {
    if (value === null) return { required: false };
    if (typeof value !== 'object') return { required: false, default: this.#value(at, value) };
    const place = [...this.place, ...at];
    if (Array.isArray(value))
      this.#say(at, 'a property is a default value or a map, but is a list');
    if (Array.isArray(value) || !this.#isSound(PropertyInFile, value, place)) return undefined;
    const property = value as PropertyInFile;
    const choices = property.choices?.map((choice, i) =>
      this.#value([...at, 'choices', i], choice),
    );
    const set = property.default === undefined || property.default === null;
    const preset = set ? undefined : this.#value([...at, 'default'], property.default);
    if (preset !== undefined && property.required === true)
      this.#say(
        [...at, 'required'],
        'a property with a default is never missing; leave one of them out',
      );
    if (preset !== undefined && choices && !choices.includes(preset))
      this.#say([...at, 'default'], `the default is not one of the choices: ${choices.join(', ')}`);
    return {
      required: property.required ?? false,
      ...given({ description: property.description, default: preset, choices }),
    };
  }

  #value(at: Place, value: unknown): string {
    const text = this.#scalar(at, value);
    if (text.length > MAX_PROPERTY || text.includes('\0'))
      this.#say(at, `a property has at most ${MAX_PROPERTY} characters, none of them NUL`);
    return this.#plain(at, text);
  }

  /** A text that is taken as it stands. */
  #plain(at: Place, text: string): string {
    if (hasExpression(text))
      this.#say(at, 'expressions work in env, image, source and workdir only', { within: '${{' });
    return text;
  }

  /** Numbers and such as they are written: 1.10 stays 1.10. */
  #scalar(at: Place, value: unknown): string {
    if (typeof value === 'string') return value;
    if (value === null) return '';
    if (typeof value === 'object')
      this.#say(at, `the value must be a text, but is ${kindOf(value)}`);
    return this.tree.text([...this.place, ...at]) ?? '';
  }

  /** A text that may have expressions in it; the check runs now when it has none, else when they are known. */
  #text<T extends string | undefined>(at: Place, text: T | null, check: Check): T {
    if (text === undefined || text === null) return undefined as T;
    if (!hasExpression(text)) {
      const problem = check(text);
      if (problem) this.#say(at, problem);
      return text;
    }
    const read = readTemplate(text, this.#declared);
    if ('problem' in read) this.#say(at, read.problem, { within: '${{' });
    return text;
  }

  #list(key: string, items: string[] | null | undefined, check: Check): string[] {
    const seen = new Set<string>();
    (items ?? []).forEach((item, i) => {
      const problem = seen.has(item)
        ? `${item} stands here twice`
        : check(this.#plain([key, i], item));
      if (problem) this.#say([key, i], problem);
      seen.add(item);
    });
    return [...seen];
  }

  #lostAfter(text: string | null | undefined): number | undefined {
    const ms = this.#timeout(['lost-after'], text);
    if (ms !== undefined && ms > 0 && ms < MIN_LOST_AFTER_MS)
      this.#say(['lost-after'], 'a worker may be silent for 1m at least: it may only be a cut');
    return ms;
  }

  #retention(own: RetentionInFile | null | undefined): Retention | undefined {
    const problems = retentionProblems(own ?? {});
    for (const { key, message } of problems) this.#say(['retention', key], message);
    return problems.length > 0 ? undefined : retentionOf(own ?? {}, this.retention);
  }

  #timeout(at: Place, text: string | null | undefined): number | undefined {
    if (text === undefined || text === null) return undefined;
    const ms = parseDuration(text);
    if (ms === undefined || ms <= 0)
      this.#say(at, `${JSON.stringify(text)} is not a duration; write 90s, 30m, 1h30m or 2d`);
    else if (ms > MAX_TIMEOUT_MS) this.#say(at, 'no duration is longer than 7d');
    return ms;
  }
}

/** UTF-16 units of a name that is made up. */
const DEFAULT_NAME = 60;

/** The first line of what a step runs, cut; a number is put behind it when another step has the name. */
function defaultName(run: string, taken: Set<string>): string {
  const line = run
    .trim()
    .split(/[\r\n\u2028\u2029]/, 1)
    .join('')
    // oxlint-disable-next-line no-control-regex -- control characters are what is looked for
    .replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ');
  // a line of such characters alone is no name
  const first = cutText(line.trim(), DEFAULT_NAME).trim() || 'step';
  let name = first;
  for (let n = 2; taken.has(name); n += 1) {
    const ending = ` (${n})`;
    name = cutText(first, DEFAULT_NAME - ending.length).trimEnd() + ending;
  }
  taken.add(name);
  return name;
}

/** Without the keys that are undefined: absent and undefined are not the same once stored as JSON. */
function given<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined | null> } {
  return Object.fromEntries(
    Object.entries(object).filter(([, value]) => value !== undefined && value !== null),
  ) as { [K in keyof T]?: Exclude<T[K], undefined | null> };
}
