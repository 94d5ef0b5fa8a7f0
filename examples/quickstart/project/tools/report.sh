#!/bin/sh
# report.sh TITLE FOLDER FILE: lines and bytes of each type of file, and the checksum of each file.
set -eu
title=$1 folder=$2 report=$3
mkdir -p "$(dirname "$report")"
files=$(find "$folder" -type f ! -path '*/.git/*' ! -path "$report" ! -path "$folder/$report" | sort)
for file in $files; do
  name=$(basename "$file")
  echo "${name##*.} $(wc -l <"$file") $(wc -c <"$file") $(sha256sum "$file" | cut -d ' ' -f 1) ${file#./}"
done | awk -v title="$title" -v build="${IMPGEM_BUILD_NUMBER:-}" '
  function escape(text) { gsub(/&/, "\\&amp;", text); gsub(/</, "\\&lt;", text); return text }
  { files[$1]++; lines[$1] += $2; bytes[$1] += $3; sums = sums "\n" $4 "  " $5 }
  END {
    print "<!doctype html><meta charset=\"utf-8\"><title>" escape(title) "</title>"
    print "<h1>" escape(title) "</h1><p>Build " build "</p><table border=\"1\">"
    print "<tr><th>type<th>files<th>lines<th>bytes"
    for (type in files) {
      print "<tr><td>" escape(type) "<td>" files[type] "<td>" lines[type] "<td>" bytes[type]
      printf "%-6s %3d files %5d lines %7d bytes\n", type, files[type], lines[type], bytes[type] > "/dev/stderr"
    }
    print "</table><pre>" escape(sums) "\n</pre>"
  }' >"$report"
echo "wrote $report, $(wc -c <"$report") bytes"
