# Build from the root of the repository: docker build -f docker/master.Dockerfile -t impgem-master .
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

# What the master and the command line need at run time. Optional packages are left out: the embedded database is one,
# so this image needs DATABASE_URL.
FROM build AS packages
RUN npm ci --ignore-scripts --prefer-offline --omit=dev --omit=optional -w apps/master -w apps/cli --no-audit --no-fund --loglevel=error \
 && rm -rf apps/web/node_modules libs/testkit node_modules/@impgem/testkit node_modules/@impgem/e2e node_modules/@impgem/bench node_modules/@impgem/worker node_modules/@impgem/web

FROM node:24-bookworm-slim
ENV NODE_ENV=production IMPGEM_HOST=0.0.0.0 IMPGEM_PORT=8010 IMPGEM_DATA=/data
WORKDIR /impgem
COPY --from=packages /src/package.json ./
COPY --from=packages /src/node_modules node_modules
COPY --from=packages /src/libs libs
COPY --from=packages /src/apps/master apps/master
COPY --from=packages /src/apps/cli apps/cli
COPY --from=packages /src/apps/web/dist apps/web/dist
# `docker exec MASTER impgem …` speaks to the master of this container as its administrator
RUN ln -s /impgem/apps/cli/bin/impgem.js /usr/local/bin/impgem \
 && mkdir /data .impgem \
 && echo '{"url":"http://127.0.0.1:8010","tokenFile":"/data/admin-token"}' > .impgem/client.json \
 && chown -R node:node /data .impgem
USER node
VOLUME /data
EXPOSE 8010
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["node", "-e", "const s=process.env.IMPGEM_TLS_CERT?'https':'http';process.env.NODE_TLS_REJECT_UNAUTHORIZED='0';fetch(`${s}://127.0.0.1:${process.env.IMPGEM_PORT}/health/ready`).then(r=>process.exit(r.ok?0:1),()=>process.exit(1))"]
CMD ["node", "apps/master/dist/main.js"]
