#!/bin/sh
# test.sh PROGRAM: compares what it counts with what is known.
set -eu
expect() {
  got=$(printf "$1" | "$program")
  [ "$got" = "$2" ] || { echo "FAILED: '$1' gave '$got', not '$2'" >&2; exit 1; }
  echo "ok: $2"
}
program=$1
expect '' '0 0 0'
expect 'one' '0 1 3'
expect 'one two\nthree\n' '2 3 14'
expect '  \n\t\n' '2 0 5'
