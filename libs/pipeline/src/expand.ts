import { FarmError } from '@impgem/kit';
import type { BuilderDefinition } from './definition.js';
import {
  readTemplate,
  renderTemplate,
  hasExpression,
  type ExpressionContext,
} from './expressions.js';
import type { BuildPlan, PlannedSource, PlannedStep } from './plan.js';
import {
  addressProblem,
  credentialProblem,
  gitProblem,
  imageProblem,
  propertyVariable,
  refProblem,
  valueProblem,
  workdirProblem,
} from './references.js';

/** Which build a plan is for. */
export interface BuildName {
  /** The builder's name. */
  name: string;
  /** The build's number, from 1. */
  number: number;
  /** As `resolveProperties` answers them. */
  properties: Record<string, string>;
}

/** Characters of a plan as JSON: it travels in one frame. */
const MAX_PLAN = 512 * 1024;

/**
 * The plan of one build: the `checkout` step first when the builder has a source, the `artifacts` step last when
 * it has globs, the environment of each step merged, all expressions rendered. The same input gives the same
 * plan. Throws `FarmError('invalid-property')` when a value does not fit where it is used; `resolveProperties`
 * has found that out before.
 */
export function expand(definition: BuilderDefinition, build: BuildName): BuildPlan {
  const { plan, problem } = tryExpand(definition, build);
  if (problem !== undefined) throw new FarmError('invalid-property', problem);
  return plan;
}

/** Like `expand`, but answers the first problem beside the plan. */
export function tryExpand(
  definition: BuilderDefinition,
  { name, number, properties }: BuildName,
): { plan: BuildPlan; problem?: string } {
  const render = new Renderer(definition, { properties, build: { builder: name, number } });
  const own = {
    IMPGEM: 'true',
    IMPGEM_BUILDER: name,
    IMPGEM_BUILD_NUMBER: String(number),
    ...Object.fromEntries(
      Object.entries(properties).map(([key, value]) => [propertyVariable(key), value]),
    ),
  };
  const env = (of: Record<string, string>) =>
    Object.fromEntries(
      Object.entries(of).map(([key, text]) => [key, render.text(`env ${key}`, text, valueProblem)]),
    );
  const common = { CI: 'true', ...env(definition.env) };
  const steps = definition.steps.map((step): PlannedStep => {
    const image = step.image ?? definition.image;
    const silenceTimeoutMs = step.silenceTimeoutMs ?? definition.silenceTimeoutMs;
    return {
      kind: 'run',
      name: step.name,
      run: step.run,
      env: { ...common, ...env(step.env), ...own },
      ...(image === undefined ? {} : { image: render.text('image', image, imageProblem) }),
      ...(step.workdir === undefined
        ? {}
        : { workdir: render.text('workdir', step.workdir, workdirProblem) }),
      ...(step.timeoutMs === undefined ? {} : { timeoutMs: step.timeoutMs }),
      ...(silenceTimeoutMs === undefined ? {} : { silenceTimeoutMs }),
      ...(step.output === undefined ? {} : { output: step.output }),
    };
  });
  const source = definition.source && render.source(definition.source);
  if (source) steps.unshift({ kind: 'checkout', name: 'checkout', env: {} });
  if (definition.artifacts.length > 0)
    steps.push({ kind: 'artifacts', name: 'artifacts', env: {} });
  const plan = {
    builder: name,
    number,
    ...(source ? { source } : {}),
    steps,
    artifacts: definition.artifacts,
    properties,
    timeoutMs: definition.timeoutMs,
  };
  const problem = render.problem ?? tooBig(JSON.stringify(plan).length);
  return problem === undefined ? { plan } : { plan, problem };
}

/** Says at the reading of the file when no plan of this builder could travel. */
export function planSizeProblem({ env, steps }: BuilderDefinition): string | undefined {
  const each = JSON.stringify(env).length;
  return tooBig(steps.reduce((sum, step) => sum + JSON.stringify(step).length + each, 0));
}

function tooBig(size: number): string | undefined {
  if (size <= MAX_PLAN) return undefined;
  return `with its environment in each step the builder comes to ${size} characters; at most ${MAX_PLAN} are allowed`;
}

class Renderer {
  problem: string | undefined;
  readonly #declared: string[];
  constructor(
    definition: BuilderDefinition,
    readonly context: ExpressionContext,
  ) {
    this.#declared = Object.keys(definition.properties);
  }

  text(what: string, text: string, check: (text: string) => string | undefined): string {
    if (!hasExpression(text)) return text;
    const read = readTemplate(text, this.#declared);
    const rendered = 'template' in read ? renderTemplate(read.template, this.context) : '';
    const problem = 'problem' in read ? read.problem : check(rendered);
    if (problem !== undefined) this.problem ??= `${what}: ${problem}`;
    return rendered;
  }

  source({ git, ref }: PlannedSource): PlannedSource {
    // A file that was applied before credentials were refused builds on; those of a property's value are new.
    const isOld = credentialProblem(git) !== undefined;
    const address = this.text('source', git, isOld ? addressProblem : gitProblem);
    return ref === undefined
      ? { git: address }
      : { git: address, ref: this.text('source.ref', ref, refProblem) };
  }
}
