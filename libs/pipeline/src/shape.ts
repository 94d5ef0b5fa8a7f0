import { plainToInstance } from 'class-transformer';
import { getMetadataStorage, validateSync, type ValidationError } from 'class-validator';
import {
  BuilderInFile,
  FarmInFile,
  PropertyInFile,
  RetentionInFile,
  RetryInFile,
  SourceInFile,
  StepInFile,
} from './farm-file.js';
import { nearest } from './nearest.js';
import type { FileProblem, Place } from './problem.js';
import type { YamlTree } from './yaml-tree.js';

type Shape = new () => object;

/** What people bring along from other CI systems, and what it is called here. */
const ELSEWHERE: Record<string, string> = {
  'timeout-minutes': 'write timeout, e.g. timeout: 30m',
  'working-directory': 'write workdir',
  'runs-on': 'write labels, e.g. labels: [os=linux]',
  container: 'write image',
  jobs: 'write builders',
  uses: 'actions are not supported; write run',
  script: 'write run',
  environment: 'write env',
  '<<': 'merge keys are not supported; write the keys out',
};

/**
 * Checks a value of the file against its class. Each problem stands where it is in the file. It is `sound` when
 * every key that the class knows has a value of its type, so that more can be checked.
 */
export function checkShape(
  tree: YamlTree,
  shape: Shape,
  value: object,
  place: Place,
): { problems: FileProblem[]; sound: boolean } {
  const errors = validateSync(plainToInstance(shape, value), {
    whitelist: true,
    forbidNonWhitelisted: true,
    forbidUnknownValues: false,
  });
  const problems = errors.flatMap((error) => tell(tree, error, shape, place));
  return { problems, sound: errors.every(isUnknownKey) };
}

/** Of the object itself, or of those in it. */
function isUnknownKey({ constraints = {}, children = [] }: ValidationError): boolean {
  return (
    Object.keys(constraints).every((name) => name === 'whitelistValidation') &&
    children.every(isUnknownKey)
  );
}

function tell(tree: YamlTree, error: ValidationError, shape: Shape, place: Place): FileProblem[] {
  const here = [...place, inList(error, shape)];
  const constraints = error.constraints ?? {};
  if (constraints.whitelistValidation)
    return [tree.problem(here, unknownKey(error.property, shape), 'key')];
  const nested = (error.children ?? []).flatMap((child) =>
    tell(tree, child, within(error.property, shape), here),
  );
  const [own] = Object.entries(constraints).sort((a, b) => weight(a[0]) - weight(b[0]));
  // What is wrong with an item is told at its place.
  if (!own || (own[0] === 'isObject' && nested.length > 0)) return nested;
  const where = error.value === undefined ? place : here;
  return [{ ...tree.problem(where, own[1]), path: tree.problem(here, '').path }, ...nested];
}

/** A value has one problem, the most basic one. */
function weight(constraint: string): number {
  const first = ['isDefined', 'isArray', 'isObject', 'isString', 'isBoolean'].indexOf(constraint);
  return first < 0 ? (constraint === 'nestedValidation' ? 50 : 10) : first;
}

/** Children of a list are named by their index. */
function inList(error: ValidationError, shape: Shape): string | number {
  return shape === StepList && /^\d+$/.test(error.property)
    ? Number(error.property)
    : error.property;
}

/** Stands for the list between a builder and its steps. */
class StepList {}

function within(property: string, shape: Shape): Shape {
  if (shape === StepList) return StepInFile;
  if (shape === BuilderInFile && property === 'steps') return StepList;
  if (shape === BuilderInFile && property === 'source') return SourceInFile;
  if (shape === BuilderInFile && property === 'retry') return RetryInFile;
  if ((shape === BuilderInFile || shape === FarmInFile) && property === 'retention')
    return RetentionInFile;
  return shape;
}

function unknownKey(key: string, shape: Shape): string {
  const known = keysOf(shape);
  const where = NAMES.get(shape) ?? 'here';
  const hint =
    ELSEWHERE[key] ??
    (/[^\w.-]/.test(key)
      ? 'when it belongs to the text before it, put that text in quotes'
      : undefined) ??
    (nearest(key, known) === undefined
      ? `it may have ${known.join(', ')}`
      : `did you mean ${nearest(key, known)}?`);
  return `${where} has no key ${key}; ${hint}`;
}

const NAMES = new Map<Shape, string>([
  [FarmInFile, 'the file'],
  [BuilderInFile, 'a builder'],
  [StepInFile, 'a step'],
  [PropertyInFile, 'a property'],
  [SourceInFile, 'a source'],
  [RetryInFile, 'a retry'],
  [RetentionInFile, 'a retention'],
]);

function keysOf(shape: Shape): string[] {
  const all = getMetadataStorage().getTargetValidationMetadatas(shape, '', false, false);
  return [...new Set(all.map(({ propertyName }) => propertyName))];
}
