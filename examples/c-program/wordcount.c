/* Counts the lines, words and bytes of standard input. */
#include <ctype.h>
#include <stdio.h>

int main(void) {
  unsigned long lines = 0, words = 0, bytes = 0;
  int inside = 0;
  for (int c; (c = getchar()) != EOF; bytes++) {
    if (c == '\n') lines++;
    if (isspace(c)) inside = 0;
    else if (!inside) inside = 1, words++;
  }
  printf("%lu %lu %lu\n", lines, words, bytes);
  return ferror(stdin) ? 1 : 0;
}
