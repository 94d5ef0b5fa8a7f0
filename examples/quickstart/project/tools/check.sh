#!/bin/sh
# check.sh FOLDER: each page begins with a headline, and each link leads to a page.
set -eu
cd "$1"
bad=0
for page in *.md; do
  if ! head -n 1 "$page" | grep -q '^# '; then
    echo "$page: the first line is no headline" >&2
    bad=1
  fi
  for link in $(sed -n 's/.*](\([^)]*\.md\)).*/\1/p' "$page"); do
    if [ -f "$link" ]; then
      echo "$page -> $link"
    else
      echo "$page: the link to $link leads nowhere" >&2
      bad=1
    fi
  done
done
exit "$bad"
