import { BuilderReader } from './read-builder.js';
import type { Farm } from './definition.js';
import { FarmInFile, kindOf, RetentionInFile } from './farm-file.js';
import type { FileProblem } from './problem.js';
import { nameProblem } from './references.js';
import { retentionProblems } from './read-retention.js';
import { checkShape } from './shape.js';
import { FILE_LIMITS, readYaml, type YamlTree } from './yaml-tree.js';

/**
 * Reads and checks a farm file. Never throws on bad input: there is either a farm or at least one problem, each
 * with its path, line and column. Bounded in time and memory by `FILE_LIMITS`.
 */
export function readFarmFile(source: string): { farm?: Farm; problems: FileProblem[] } {
  const tree = readYaml(source);
  if (tree.problems.length > 0) return { problems: tree.problems };
  const { value } = tree;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    const what =
      value === null ? 'the file is empty' : `the file must be a map, but is ${kindOf(value)}`;
    return { problems: [tree.problem([], `${what}; begin it with builders:`)] };
  }
  const { problems } = checkShape(tree, FarmInFile, value, []);
  const retention = farmRetention(tree, (value as { retention?: unknown }).retention, problems);
  const builders: Farm['builders'] = new Map();
  const named = (value as { builders?: unknown }).builders;
  if (typeof named === 'object' && named !== null && !Array.isArray(named)) {
    if (Object.keys(named).length === 0)
      problems.push(tree.problem(['builders'], 'builders is empty: define at least one builder'));
    for (const [name, builder] of Object.entries(named)) {
      const place = ['builders', name];
      const problem = nameProblem(name);
      if (problem) problems.push(tree.problem(place, problem, 'key'));
      const reader = new BuilderReader(tree, place, retention);
      const definition = reader.read(builder);
      problems.push(...reader.problems);
      if (definition) builders.set(name, definition);
    }
  }
  if (problems.length > 0) return { problems: sorted(problems).slice(0, FILE_LIMITS.problems) };
  return { farm: { builders }, problems };
}

/** What all builders have in common; undefined also when it is not in order. */
function farmRetention(
  tree: YamlTree,
  value: unknown,
  problems: FileProblem[],
): RetentionInFile | undefined {
  const place = ['retention'];
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  if (!checkShape(tree, RetentionInFile, value, place).sound) return undefined;
  const wrong = retentionProblems(value);
  for (const { key, message } of wrong) problems.push(tree.problem([...place, key], message));
  return wrong.length > 0 ? undefined : value;
}

/** In the order of the file. */
function sorted(problems: FileProblem[]): FileProblem[] {
  return problems.sort(
    (a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0),
  );
}
