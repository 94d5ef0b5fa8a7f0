# Build from the root of the repository: docker build -f docker/master.Dockerfile -t impgem-master .
# The first stage is the same text in both images, so that the second build takes it from the cache.
FROM node:24-bookworm-slim AS build
WORKDIR /src
COPY . .
RUN sh docker/assemble.sh

# The embedded database is left out, so it needs DATABASE_URL.
FROM node:24-bookworm-slim
ENV NODE_ENV=production IMPGEM_HOST=0.0.0.0 IMPGEM_PORT=8010 IMPGEM_DATA=/data \
  MALLOC_ARENA_MAX=2 XDG_CONFIG_HOME=/etc
WORKDIR /impgem
COPY --from=build /out/master ./
# `docker exec MASTER impgem …` speaks to the master of this container as its administrator, whichever user and folder
# that is run with: the file is root's, and below XDG_CONFIG_HOME.
RUN ln -s /impgem/apps/cli/bin/impgem.js /usr/local/bin/impgem \
 && mkdir /data /etc/impgem \
 && echo '{"url":"http://127.0.0.1:8010","tokenFile":"/data/admin-token"}' > /etc/impgem/client.json \
 && chown node:node /data
USER node
VOLUME /data
EXPOSE 8010
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["node", "-e", "const s=process.env.IMPGEM_TLS_CERT?'https':'http';process.env.NODE_TLS_REJECT_UNAUTHORIZED='0';fetch(`${s}://127.0.0.1:${process.env.IMPGEM_PORT}/health/ready`).then(r=>process.exit(r.ok?0:1),()=>process.exit(1))"]
CMD ["node", "apps/master/bundle/main.js"]
