#!/bin/sh
# What both images are made from, in one layer that holds nothing else: /out/master and /out/worker. Kept in one step
# because the builder writes every layer to its disk, and that takes longer for all packages than installing them.
set -eu
# What makes the programs counts as theirs; what tests and checks them is left out.
npm ci --omit=dev -w apps/master -w apps/worker -w apps/cli -w apps/web --ignore-scripts --no-audit \
  --no-fund --no-update-notifier --loglevel=error --cache /tmp/npm
for app in master worker cli web; do
  npm run -s build -w "apps/$app"
done

# copy FOLDER PATH…: paths of this repository into a folder, under the same names
copy() {
  folder=$1
  shift
  mkdir -p "$folder"
  tar -cf - "$@" | tar -xf - -C "$folder"
}
# what tools/rolldown.mjs leaves out of the programs and they use; the embedded database is not among it
native='node_modules/bufferutil node_modules/node-gyp-build'
docs=node_modules/swagger-ui-dist
copy /out/master package.json $native apps/cli/package.json apps/cli/bin apps/cli/bundle \
  apps/master/package.json apps/master/bundle apps/web/dist $docs/package.json \
  $docs/swagger-ui.css $docs/swagger-ui-bundle.js $docs/favicon-32x32.png
copy /out/worker package.json $native apps/worker/package.json apps/worker/bundle docker/worker-health.mjs
rm -rf /src /tmp/npm /tmp/node-compile-cache
