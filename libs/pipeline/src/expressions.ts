/**
 * `${{ … }}` in a farm file: the grammar and the meaning are GitHub Actions' own (`@actions/expressions`), with
 * two contexts, `properties` and `build`. Functions are cut down to those whose answer is not longer than what
 * went in; `format` inside `format` could grow without end.
 */
import { data, Evaluator, Lexer, Parser, type Expr } from '@actions/expressions';
import {
  Binary,
  ContextAccess,
  FunctionCall,
  Grouping,
  IndexAccess,
} from '@actions/expressions/ast';
import { Literal, Logical, Unary } from '@actions/expressions/ast';
import { nearest } from './nearest.js';

/** What expressions can ask for. */
export interface ExpressionContext {
  properties: Readonly<Record<string, string>>;
  build: { builder: string; number: number };
}

const BUILD_FIELDS = ['number', 'builder'];
const FUNCTIONS = ['contains', 'startsWith', 'endsWith', 'format'];

/** Text between expressions, and expressions. */
export type Template = readonly (string | Expr)[];

/** Whether a text has something to interpolate in it. */
export const hasExpression = (text: string): boolean => text.includes('${{');

/**
 * Reads a text with `${{ … }}` in it. `known` are the declared properties. Answers the parts, or what is wrong
 * with the first bad expression.
 */
export function readTemplate(
  text: string,
  known: readonly string[],
): { template: Template } | { problem: string } {
  const template: (string | Expr)[] = [];
  for (let at = 0; ;) {
    const start = text.indexOf('${{', at);
    if (start < 0) {
      template.push(text.slice(at));
      return { template };
    }
    const end = endOf(text, start + 3);
    if (end === undefined) return { problem: 'an expression that begins with ${{ ends with }}' };
    const expression = text.slice(start + 3, end);
    try {
      const parsed = new Parser(
        new Lexer(expression).lex().tokens,
        ['properties', 'build'],
        [],
      ).parse();
      const problem = check(parsed, known, false);
      if (problem !== undefined) return { problem };
      template.push(text.slice(at, start), parsed);
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error);
      return { problem: `\${{${expression}}} is not an expression: ${what}` };
    }
    at = end + 2;
  }
}

/** The text with its expressions evaluated. Values are put in as they are: nothing in them is read again. */
export function renderTemplate(template: Template, context: ExpressionContext): string {
  const properties = Object.entries(context.properties);
  const dictionary = new data.Dictionary(
    {
      key: 'properties',
      value: new data.Dictionary(
        ...properties.map(([key, value]) => ({ key, value: new data.StringData(value) })),
      ),
    },
    {
      key: 'build',
      value: new data.Dictionary(
        { key: 'number', value: new data.NumberData(context.build.number) },
        { key: 'builder', value: new data.StringData(context.build.builder) },
      ),
    },
  );
  return template
    .map((part) =>
      typeof part === 'string' ? part : new Evaluator(part, dictionary).evaluate().coerceString(),
    )
    .join('');
}

/** Where the `}}` stands that ends the expression; quotes may hold one. */
function endOf(text: string, from: number): number | undefined {
  let quoted = false;
  for (let i = from; i < text.length; i++) {
    if (text[i] === "'") quoted = !quoted;
    else if (!quoted && text.startsWith('}}', i)) return i;
  }
  return undefined;
}

function check(expr: Expr, known: readonly string[], inFormat: boolean): string | undefined {
  const all = (parts: Expr[], format = inFormat) =>
    parts.map((part) => check(part, known, format)).find((problem) => problem !== undefined);
  if (expr instanceof Literal) return undefined;
  if (expr instanceof Unary) return all([expr.expr]);
  if (expr instanceof Binary) return all([expr.left, expr.right]);
  if (expr instanceof Logical) return all(expr.args);
  if (expr instanceof Grouping) return all([expr.group]);
  if (expr instanceof IndexAccess) return checkAccess(expr, known);
  if (expr instanceof ContextAccess)
    return `${expr.name.lexeme} alone is not a text: write ${expr.name.lexeme}.NAME`;
  if (!(expr instanceof FunctionCall)) return 'this kind of expression is not supported';
  const name = FUNCTIONS.find((f) => f.toLowerCase() === expr.functionName.lexeme.toLowerCase());
  if (!name)
    return `there is no function ${expr.functionName.lexeme}; there are ${FUNCTIONS.join(', ')}`;
  if (name === 'format' && inFormat) return 'format stands inside format';
  return all(expr.args, inFormat || name === 'format');
}

function checkAccess({ expr, index }: IndexAccess, known: readonly string[]): string | undefined {
  if (!(expr instanceof ContextAccess) || !(index instanceof Literal))
    return 'only properties.NAME, build.number and build.builder can be read';
  const context = expr.name.lexeme.toLowerCase();
  const name = index.literal.coerceString();
  const names = context === 'build' ? BUILD_FIELDS : known;
  if (names.some((other) => other.toLowerCase() === name.toLowerCase())) return undefined;
  if (context === 'build')
    return `there is no build.${name}; there are build.number and build.builder`;
  const near = nearest(name, known);
  const hint = near === undefined ? 'declare it under properties' : `did you mean ${near}?`;
  return `the property ${name} is not declared; ${hint}`;
}
