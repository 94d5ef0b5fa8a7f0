import { InvalidArgumentError } from 'commander';

/** Reads an argument that is a whole number within bounds. Throws what the parser tells with the name of the flag. */
export const wholeNumber =
  (least: number, most = 999_999_999_999) =>
  (text: string): number => {
    const number = /^-?\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    if (number >= least && number <= most) return number;
    throw new InvalidArgumentError(
      most === 999_999_999_999
        ? `It is a whole number, ${least} or more.`
        : `It is a whole number from ${least} to ${most}.`,
    );
  };
