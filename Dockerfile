# The server with its demo page. `docker build -t tidegate .`, then
# `docker run -p 8000:8000 -v tidegate-data:/data -v ./tidegate.toml:/etc/tidegate.toml:ro tidegate`.
# The configuration is yours: `docker run --rm tidegate config reference` prints one with every setting explained.

FROM node:22-bookworm-slim AS node

FROM rust:1.95-bookworm AS build
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
    && apt-get update \
    && apt-get install --yes --no-install-recommends libssl-dev pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin tidegate && cp target/release/tidegate /usr/local/bin/tidegate

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group tidegate \
    && install --directory --owner tidegate --group tidegate /data
COPY --from=build /usr/local/bin/tidegate /usr/local/bin/tidegate
USER tidegate
WORKDIR /data
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["tidegate"]
CMD ["serve", "--config", "/etc/tidegate.toml", "--listen", "0.0.0.0:8000", "--broker", "embedded:/data/log"]
