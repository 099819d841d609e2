# Build and run:
#   docker build -t rusty-lsm .
#   docker run -d -p 8080:8080 --ulimit nofile=65535:65535 --security-opt seccomp=scripts/seccomp.json -v rusty-lsm:/data rusty-lsm
# Docker's own seccomp profile denies io_uring: without the --security-opt the server says so and exits with code 69.

FROM rust:1.95-slim-bookworm AS build
# glommio compiles liburing and asks git for its version; the allocator is built by make.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc git libc6-dev make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# The image's own toolchain is the pinned one; nothing may start a download of another.
ENV RUSTUP_AUTO_INSTALL=0
RUN cargo build --release --locked --bin rusty-lsm \
    && strip --strip-debug target/release/rusty-lsm

FROM debian:bookworm-slim
# A number, so that an orchestrator can see that it is not root.
RUN groupadd --gid 10001 rusty-lsm \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin rusty-lsm \
    && install -d -m 0700 -o 10001 -g 10001 /data
COPY --from=build /build/target/release/rusty-lsm /usr/local/bin/rusty-lsm
COPY --from=build /build/LICENSE /usr/share/doc/rusty-lsm/LICENSE
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8080
# Stop accepting, finish what was read, sync, close: done within Docker's ten seconds.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["rusty-lsm", "ping", "--port", "8080"]
ENTRYPOINT ["rusty-lsm"]
# All addresses: a container is reached through its own interface. Publish the port with care, there is no password yet.
CMD ["start", "--bind", "0.0.0.0", "--port", "8080", "--data-dir", "/data"]
