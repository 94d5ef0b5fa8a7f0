# Build from the root of the repository: docker build -f docker/worker.Dockerfile -t impgem-worker .
# The first stage is the same text in both images, so that the second build takes it from the cache.
FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY . .
RUN sh docker/assemble.sh

FROM node:24-bookworm-slim
# busybox: the warm network holder of a slot is made from a static program
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends git openssh-client ca-certificates busybox-static >/dev/null \
 && rm -rf /var/lib/apt/lists/*
ENV NODE_ENV=production IMPGEM_WORKER_DATA=/data MALLOC_ARENA_MAX=2
WORKDIR /impgem
COPY --from=build /out/worker ./
RUN mkdir /data && chown node:node /data
# Not root; whoever may use the engine's socket must be given its group (`group_add` in docker-compose.yml).
USER node
VOLUME /data
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["node", "docker/worker-health.mjs"]
CMD ["node", "apps/worker/bundle/main.js"]
