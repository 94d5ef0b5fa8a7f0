#!/usr/bin/env node
// Writes docs/farm-file.schema.json, the JSON Schema of the farm file, from the compiled classes; editors use it.
//   node libs/pipeline/scripts/schema.mjs [--check]     --check: compare only, exit 1 when it differs
import { readFile, writeFile } from 'node:fs/promises';
import { defaultMetadataStorage } from 'class-transformer/cjs/storage.js';
import { validationMetadatasToSchemas } from 'class-validator-jsonschema';
import { format } from 'prettier';
import * as shapes from '../dist/farm-file.js';

const all = validationMetadatasToSchemas({
  classTransformerMetadataStorage: defaultMetadataStorage,
  refPointerPrefix: '#/$defs/',
});
const plain = (name) => name.replace('InFile', '');
const $defs = {};
for (const name of Object.keys(shapes)) {
  if (!all[name]) continue;
  const text = JSON.stringify(all[name]).replaceAll(
    /#\/\$defs\/(\w+)/g,
    (_, to) => `#/$defs/${plain(to)}`,
  );
  $defs[plain(name)] = { ...JSON.parse(text), additionalProperties: false };
}
// What the classes leave to the code: maps by name, and the short forms.
const scalar = { type: ['string', 'number', 'boolean', 'null'] };
const variables = {
  type: 'object',
  propertyNames: { pattern: '^[A-Za-z_][A-Za-z0-9_]*$' },
  additionalProperties: scalar,
};
const { Builder, Farm, Property, Retention, Source, Step } = $defs;
Farm.properties.builders = {
  type: 'object',
  minProperties: 1,
  additionalProperties: { $ref: '#/$defs/Builder' },
};
Builder.properties.source = { anyOf: [{ type: 'string' }, { $ref: '#/$defs/Source' }] };
Builder.properties.env = Step.properties.env = variables;
Builder.properties.properties = {
  type: 'object',
  additionalProperties: { anyOf: [scalar, { $ref: '#/$defs/Property' }] },
};
Property.properties.default = scalar;
Property.properties.choices.items = scalar;
const durations = { type: 'string', pattern: '^(\\d+d)?(\\d+h)?(\\d+m)?(\\d+s)?$' };
for (const key of ['timeout', 'silence-timeout'])
  Builder.properties[key] = Step.properties[key] = durations;
Builder.properties['lost-after'] = durations;
for (const key of ['builds', 'logs', 'artifacts'])
  Retention.properties[key] = { anyOf: [durations, { const: 'forever' }] };
if (!Source || !Step) throw new Error('a class is missing');

const schema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  title: 'Farm file of Imp Gem',
  $ref: '#/$defs/Farm',
  $defs,
};
const file = new URL('../../../docs/farm-file.schema.json', import.meta.url);
const text = await format(JSON.stringify(schema), { parser: 'json', printWidth: 100 });
const before = await readFile(file, 'utf8').catch(() => '');
if (process.argv.includes('--check') && text !== before) {
  process.stderr.write(
    'docs/farm-file.schema.json is not what the classes say: run node libs/pipeline/scripts/schema.mjs\n',
  );
  process.exit(1);
}
if (text !== before) await writeFile(file, text);
