import type { BuildDetail } from '@impgem/client';
import type { ReactNode } from 'react';
import styles from './builds.module.css';

/** The part of a rendered plan that is shown; the master's plan may say more. */
interface ShownPlan {
  source?: { git: string; ref?: string };
  steps?: {
    kind: string;
    name: string;
    run?: string;
    image?: string;
    workdir?: string;
    timeoutMs?: number;
    silenceTimeoutMs?: number;
    env?: Record<string, string>;
  }[];
  artifacts?: string[];
  timeoutMs?: number;
}

/** What the build ran with: everything merged and filled in, as the worker got it. */
export function Definition({ build }: { build: BuildDetail }) {
  const plan = build.plan as ShownPlan;
  return (
    <div className={styles.definition}>
      <p className="dim">
        As the worker got it, from version {build.farmVersion} of the farm file; later versions
        change nothing here.
      </p>
      <Pairs title="Properties" pairs={Object.entries(build.properties)} />
      {plan.source && (
        <Section title="Source">
          <code>{plan.source.git}</code>
          {plan.source.ref && ` at ${plan.source.ref}`}
        </Section>
      )}
      {plan.steps
        ?.filter((step) => step.kind === 'run')
        .map((step) => (
          <Section key={step.name} title={step.name}>
            <div className={styles.stepSettings}>
              {step.image && (
                <span>
                  image <code>{step.image}</code>
                </span>
              )}
              {step.workdir && (
                <span>
                  in <code>{step.workdir}</code>
                </span>
              )}
              {step.timeoutMs && <span>at most {Math.round(step.timeoutMs / 1000)} s</span>}
              {step.silenceTimeoutMs && (
                <span>silent for at most {Math.round(step.silenceTimeoutMs / 1000)} s</span>
              )}
            </div>
            <pre tabIndex={0} aria-label={`Commands of ${step.name}`}>
              {step.run}
            </pre>
            {step.env && <Environment env={step.env} />}
          </Section>
        ))}
      {plan.artifacts && plan.artifacts.length > 0 && (
        <Section title="Artifacts">
          {plan.artifacts.map((glob) => (
            <code key={glob} className={styles.glob}>
              {glob}
            </code>
          ))}
        </Section>
      )}
    </div>
  );
}

function Environment({ env }: { env: Record<string, string> }) {
  const names = Object.keys(env);
  if (names.length === 0) return null;
  return (
    <details>
      <summary>
        {names.length} environment {names.length === 1 ? 'variable' : 'variables'}
      </summary>
      <pre>{names.map((name) => `${name}=${env[name] ?? ''}`).join('\n')}</pre>
    </details>
  );
}

function Pairs({ title, pairs }: { title: string; pairs: [string, string][] }) {
  if (pairs.length === 0) return null;
  return (
    <Section title={title}>
      <dl className={styles.pairs}>
        {pairs.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>
              <code>{value}</code>
            </dd>
          </div>
        ))}
      </dl>
    </Section>
  );
}

function Section({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section>
      <h2>{title}</h2>
      {children}
    </section>
  );
}
