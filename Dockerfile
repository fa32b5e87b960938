# syntax=docker/dockerfile:1
# Freshet as an image:  docker build --tag freshet .
#
#   docker run --rm --publish 127.0.0.1:8080:8080 --volume freshet:/data --env FRESHET_SERVE__INSECURE=true freshet
#   docker run --rm --volume freshet:/data freshet snapshots list
#
# It listens on every interface of the container, and so refuses to start until keys are set (FRESHET_SERVE__ADMIN_KEYS, or
# FRESHET_SERVE__ADMIN_KEYS_FILE for a secret) or FRESHET_SERVE__INSECURE=true says that something else guards it.
# Any key of config.toml is set by FRESHET_SECTION__KEY; a file is mounted as /data/config.toml or named by FRESHET_CONFIG.

FROM rust:1.95-slim-trixie AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential perl \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /freshet

# The dependencies alone, with empty sources: a layer that stays until Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches \
    && echo 'fn main() {}' > src/main.rs \
    && touch src/lib.rs README.md \
    && for bench in $(sed -n '/^\[\[bench\]\]/{n;s/name = "\(.*\)"/\1/p}' Cargo.toml); do \
        echo 'fn main() {}' > "benches/$bench.rs"; done \
    && cargo build --release --locked --bin freshet \
    && rm -r src

COPY config.toml ./
COPY models ./models
COPY src ./src
# Cargo goes by the time of a file, and these are older than what was built of the empty ones.
RUN touch src/main.rs src/lib.rs \
    && cargo build --release --locked --bin freshet \
    && strip --strip-debug target/release/freshet

FROM debian:trixie-slim
# The authorities that certificates of brokers are trusted by.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home --home-dir /data freshet \
    && install --directory --owner=freshet --group=freshet --mode=0750 /data
COPY --from=build /freshet/target/release/freshet /usr/local/bin/freshet
COPY LICENSE /usr/share/doc/freshet/LICENSE

ENV FRESHET_STORE__DATA_DIR=/data \
    FRESHET_SERVE__HOST=0.0.0.0
USER freshet
WORKDIR /data
VOLUME /data
EXPOSE 8080
# The stop drains, persists and takes a snapshot: give it longer than engine.stop_deadline (docker stop --time 30).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=2m --start-interval=1s --retries=3 CMD ["freshet", "healthcheck"]
ENTRYPOINT ["freshet"]
CMD ["run"]
