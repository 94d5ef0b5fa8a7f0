#!/bin/sh
# site.sh FROM TO: makes an HTML page of each Markdown page.
set -eu
from=$1 to=$2
mkdir -p "$to"
for page in "$from"/*.md; do
  html=$to/$(basename "$page" .md).html
  awk -f tools/markdown.awk "$page" >"$html"
  echo "$page: $(wc -l <"$page") lines in, $(wc -c <"$html") bytes out"
done
