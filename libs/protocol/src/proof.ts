/**
 * A quick proof that a message is in order. It is compiled from what the decorators of its class say, and asks
 * class-validator's own validators, but spares what makes the library slow: copying into instances, and the making of
 * errors that nobody reads. It proves, it does not refuse: of what is not proven the library has the last word, and
 * finds the words for it.
 */
import { defaultMetadataStorage } from 'class-transformer/cjs/storage.js';
import { getMetadataStorage } from 'class-validator';

type Shape = new () => object;

/** True when the object is what the library would take, as it would give it back. */
export type Proof = (object: object) => boolean;

type ValueProof = (value: unknown, object: object) => boolean;

const unproven: Proof = () => false;
const proofs = new Map<Shape, Proof>();

/** `beside` is a property that is no business of the class. */
export function proofOf(shape: Shape, beside?: string): Proof {
  if (beside !== undefined) return compile(shape, beside);
  const known = proofs.get(shape);
  if (known) return known;
  // Before it is compiled: a class may hold itself.
  let proof = unproven;
  proofs.set(shape, (object) => proof(object));
  proof = compile(shape);
  proofs.set(shape, proof);
  return proof;
}

type Rule = ReturnType<ReturnType<typeof getMetadataStorage>['getTargetValidationMetadatas']>[0];

function compile(shape: Shape, beside?: string): Proof {
  const storage = getMetadataStorage();
  const rules = storage.getTargetValidationMetadatas(shape, '', false, false);
  const properties = new Map<string, ValueProof>();
  for (const [name, its] of Object.entries(storage.groupByPropertyName(rules))) {
    const proof = propertyProof(shape, name, its);
    if (!proof) return unproven;
    properties.set(name, proof);
  }
  return (object) => {
    for (const key in object) if (!properties.has(key) && key !== beside) return false;
    for (const [name, proves] of properties)
      if (!proves((object as Record<string, unknown>)[name], object)) return false;
    return true;
  };
}

/** Undefined for a property with rules that are not known here. */
function propertyProof(shape: Shape, name: string, rules: Rule[]): ValueProof | undefined {
  const conditions: ((object: object, value: unknown) => boolean)[] = [];
  const proofs: ValueProof[] = [];
  let nested = false;
  for (const rule of rules) {
    if (rule.groups?.length || rule.validateIf) return undefined;
    if (rule.type === 'conditionalValidation')
      conditions.push(rule.constraints[0] as (typeof conditions)[0]);
    else if (rule.type === 'nestedValidation') nested = true;
    else if (rule.type === 'customValidation') proofs.push(...validatorProofs(rule));
    else return undefined;
  }
  proofs.push(nested ? nestedProof(shape, name) : flat);
  return (value, object) =>
    conditions.some((holds) => !holds(object, value)) ||
    proofs.every((proves) => proves(value, object));
}

function validatorProofs(rule: Rule): ValueProof[] {
  const { constraints, propertyName: property, target, each } = rule;
  const targetName = typeof target === 'string' ? target : target.name;
  return getMetadataStorage()
    .getTargetValidatorConstraints(rule.constraintCls)
    .map(({ instance }) => (value, object) => {
      const about = { value, constraints, property, targetName, object };
      // A promise is no proof.
      const holds = (one: unknown): boolean => instance.validate(one, about) === true;
      return each ? Array.isArray(value) && value.every(holds) : holds(value);
    });
}

/** Objects of a class, or of the class that a member of theirs names; one, or a list. */
function nestedProof(shape: Shape, name: string): ValueProof {
  const meta = defaultMetadataStorage.findTypeMetadata(shape, name);
  if (!meta) return () => false;
  const { discriminator, keepDiscriminatorProperty } = meta.options;
  let proves = (object: object): boolean => proofOf(meta.typeFunction() as Shape)(object);
  if (discriminator) {
    const { property, subTypes } = discriminator;
    const kinds = new Map(subTypes.map(({ name, value }) => [name, value]));
    proves = (object) => {
      const kind = kinds.get((object as Record<string, string>)[property] ?? '');
      return kind !== undefined && keepDiscriminatorProperty === true && proofOf(kind)(object);
    };
  }
  const one = (value: unknown): boolean =>
    typeof value === 'object' && value !== null && !Array.isArray(value) && proves(value);
  return (value) => (Array.isArray(value) ? value.every(one) : one(value));
}

/** What is of no class may hold what the library takes apart: only what it leaves as it is is proven. */
const flat: ValueProof = (value) => {
  if (typeof value !== 'object' || value === null) return true;
  for (const key in value) if (!isPlain(key, (value as Record<string, unknown>)[key])) return false;
  return true;
};

const isPlain = (key: string, value: unknown): boolean =>
  (typeof value !== 'object' || value === null) && key !== '__proto__' && key !== 'constructor';
