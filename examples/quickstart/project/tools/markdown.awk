# The little Markdown that the pages need: headlines, lists, links, paragraphs.
function inline(text, before, link, label, address) {
  gsub(/&/, "\\&amp;", text)
  gsub(/</, "\\&lt;", text)
  while (match(text, /\[[^]]*\]\([^)]*\)/)) {
    link = substr(text, RSTART, RLENGTH)
    label = substr(link, 2, index(link, "]") - 2)
    address = substr(link, index(link, "(") + 1)
    sub(/\)$/, "", address)
    sub(/\.md$/, ".html", address)
    before = substr(text, 1, RSTART - 1)
    text = before "<a href=\"" address "\">" label "</a>" substr(text, RSTART + RLENGTH)
  }
  return text
}
function close_block() {
  if (block != "") print "</" block ">"
  block = ""
}
function open_block(name) {
  if (block == name) return
  close_block()
  print "<" name ">"
  block = name
}
BEGIN { print "<!doctype html><meta charset=\"utf-8\">" }
/^# / { close_block(); text = inline(substr($0, 3)); print "<title>" text "</title><h1>" text "</h1>"; next }
/^- / { open_block("ul"); print "<li>" inline(substr($0, 3)) "</li>"; next }
/^$/ { close_block(); next }
{ open_block("p"); print inline($0) }
END { close_block() }
