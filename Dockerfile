# syntax=docker/dockerfile:1
# The proxy's image: `make image`, or
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=… --build-arg REVISION=… .
# Releases give both bases by digest.
ARG BUILD_IMAGE=rust:1.95-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

# Runs on the builder's own architecture and compiles for the image's: no emulation.
FROM --platform=$BUILDPLATFORM ${BUILD_IMAGE} AS build
ARG BUILDARCH
ARG TARGETARCH
# What `version` names. Up here, since hadolint forgets the shell below at an ARG.
ARG REVISION=unknown
WORKDIR /src

SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# The C compiler for the other architecture, where there is another: aws-lc is C. Its version is the base image's own,
# which a release pins, so it is not pinned here.
# hadolint ignore=DL3008
RUN if [ "$BUILDARCH" != "$TARGETARCH" ]; then \
        case "$TARGETARCH" in \
        amd64) packages="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;; \
        arm64) packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;; \
        *) echo "no build for $TARGETARCH" >&2; exit 1 ;; \
        esac; \
        apt-get update; \
        read -ra packages <<<"$packages"; \
        apt-get install -y --no-install-recommends "${packages[@]}"; \
        rm -rf /var/lib/apt/lists/*; \
    fi

COPY . .
# Without the demo's API server and token issuer. Paths of this stage do not end up in the program.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=target-$TARGETARCH,sharing=locked \
    case "$TARGETARCH" in \
    amd64) target=x86_64-unknown-linux-gnu; compiler=x86_64-linux-gnu-gcc ;; \
    arm64) target=aarch64-unknown-linux-gnu; compiler=aarch64-linux-gnu-gcc ;; \
    *) echo "no build for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    if [ "$BUILDARCH" != "$TARGETARCH" ]; then \
        rustup target add "$target"; \
        triple="${target//-/_}"; \
        export "CC_$triple=$compiler" "CARGO_TARGET_${triple^^}_LINKER=$compiler"; \
    fi; \
    export KTP_REVISION="$REVISION"; \
    export RUSTFLAGS="--remap-path-prefix=/src=. --remap-path-prefix=/usr/local/cargo=cargo"; \
    cargo build --locked --release --no-default-features --target "$target"; \
    install -D -m 755 "target/$target/release/kube-tenant-proxy" /out/kube-tenant-proxy

FROM ${RUNTIME_IMAGE} AS runtime
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="kube-tenant-proxy" \
      org.opencontainers.image.description="ACL-filtering, streaming TLS reverse proxy for the kube-apiserver" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
COPY --from=build /out/kube-tenant-proxy /usr/local/bin/kube-tenant-proxy
# As numbers: kubelet can then prove that this is not root.
USER 65532:65532
# The proxy; probes; metrics.
EXPOSE 9001 8081 8080
ENTRYPOINT ["/usr/local/bin/kube-tenant-proxy"]
CMD ["serve"]
