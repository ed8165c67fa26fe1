# syntax=docker/dockerfile:1
FROM node:26-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# The development dependency `node` would fetch a second runtime: the image has its own, and no install script runs.
RUN --mount=type=cache,target=/root/.npm ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
COPY tsconfig.json tsconfig.build.json build.ts ./
COPY src ./src
RUN ["npm", "run", "build"]
RUN ["npm", "prune", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"]
# What only compilers and debuggers read: two thirds of what is left. Licences stay.
RUN find dist node_modules -type f \( -name "*.map" -o -name "*.d.ts" -o -name "*.d.mts" -o -name "*.d.cts" \) -delete \
 && rm -rf node_modules/.bin node_modules/.package-lock.json node_modules/openai/src

# Debian's slim image: Node's own builds are for glibc; those for musl, which Alpine needs, are experimental.
FROM node:26-slim
# Defaults for a build by hand; a release gives them with --build-arg.
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Sluice" \
      org.opencontainers.image.description="A streaming gateway for language models: one generation, many readers, resumable over Server-Sent Events and WebSocket" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE"
# On all addresses of its container: it therefore starts only with SLUICE_API_KEYS, or with SLUICE_AUTH=none on purpose.
ENV NODE_ENV=production HOST=0.0.0.0 PORT=8000
WORKDIR /app
# In the order in which they change, the rarest first. They belong to root: the process cannot change its own code.
COPY --from=build /app/node_modules ./node_modules
COPY package.json LICENSE ./
COPY --from=build /app/dist ./dist
# `node`, by its number: a name would not satisfy Kubernetes' runAsNonRoot.
USER 1000:1000
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --start-interval=1s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/livez`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/main.js"]
