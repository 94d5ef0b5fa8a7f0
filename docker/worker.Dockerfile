# Build from the root of the repository: docker build -f docker/worker.Dockerfile -t impgem-worker .
# The first stage is the same text in both images, so that the second build takes it from the cache.
FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY package.json package-lock.json ./
COPY apps/cli/package.json apps/cli/
COPY apps/master/package.json apps/master/
COPY apps/web/package.json apps/web/
COPY apps/worker/package.json apps/worker/
COPY libs/client/package.json libs/client/
COPY libs/kit/package.json libs/kit/
COPY libs/pipeline/package.json libs/pipeline/
COPY libs/protocol/package.json libs/protocol/
COPY libs/testkit/package.json libs/testkit/
COPY e2e/package.json e2e/
COPY bench/package.json bench/
RUN npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
COPY . .
RUN npx tsc -b apps/master apps/worker apps/cli && npm run build -w apps/web

FROM build AS packages
RUN npm ci --ignore-scripts --prefer-offline --omit=dev --omit=optional -w apps/worker --no-audit --no-fund --loglevel=error \
 && rm -rf libs/testkit node_modules/@impgem/testkit node_modules/@impgem/e2e node_modules/@impgem/bench node_modules/@impgem/master node_modules/@impgem/web node_modules/@impgem/cli

FROM node:24-bookworm-slim
# busybox: the warm network holder of a slot is made from a static program
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends git openssh-client ca-certificates busybox-static >/dev/null \
 && rm -rf /var/lib/apt/lists/*
ENV NODE_ENV=production IMPGEM_WORKER_DATA=/data
WORKDIR /impgem
COPY --from=packages /src/package.json ./
COPY --from=packages /src/node_modules node_modules
COPY --from=packages /src/libs libs
COPY --from=packages /src/apps/worker apps/worker
COPY docker/worker-health.mjs docker/
RUN mkdir /data && chown node:node /data
# Not root; whoever may use the engine's socket must be given its group (`group_add` in docker-compose.yml).
USER node
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["node", "docker/worker-health.mjs"]
CMD ["node", "apps/worker/dist/main.js"]
