#!/bin/sh
# What both images are made from, in one layer that holds nothing else: /out/master and /out/worker. Kept in one step
# because the builder writes every layer to its disk, and that takes longer for all packages than installing them.
set -eu
npm ci --ignore-scripts --no-audit --no-fund --no-update-notifier --loglevel=error --cache /tmp/npm
npx tsc -b apps/master apps/worker apps/cli
npm run build -w apps/web
# Optional packages are left out, the embedded database among them.
node docker/collect.mjs /out/master apps/master apps/cli
node docker/collect.mjs /out/worker apps/worker
mkdir -p /out/master/apps/web /out/worker/docker
mv apps/web/dist /out/master/apps/web/
cp docker/worker-health.mjs /out/worker/docker/
rm -rf /src /tmp/npm /tmp/node-compile-cache
