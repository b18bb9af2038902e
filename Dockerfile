# The images of the pipeline, a target for each service: docker build --target loader .
#
# Behind a company proxy or mirror nothing has to be changed here: give pip's own configuration and
# the CA bundle as build secrets (docs/deployment.md); no layer keeps them.
# No "syntax" line: the frontend that is built into every engine since 20.10 is enough.
ARG PYTHON_IMAGE=python:3.13-slim

# --- builder: pip, never shipped ------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS builder
RUN python3 -m venv /opt/pip
ENV PIP_CACHE_DIR=/var/cache/pip
COPY deploy/image/install-packages /usr/local/bin/install-packages

# One stage a service, so that building one image installs one set of packages.
FROM builder AS extractor-packages
COPY requirements/extractor.lock /tmp/packages.lock
RUN --mount=type=cache,target=/var/cache/pip,sharing=locked \
    --mount=type=secret,id=pip_conf --mount=type=secret,id=ca_bundle \
    install-packages

FROM builder AS transformer-packages
COPY requirements/transformer.lock /tmp/packages.lock
RUN --mount=type=cache,target=/var/cache/pip,sharing=locked \
    --mount=type=secret,id=pip_conf --mount=type=secret,id=ca_bundle \
    install-packages

FROM builder AS loader-packages
COPY requirements/loader.lock /tmp/packages.lock
RUN --mount=type=cache,target=/var/cache/pip,sharing=locked \
    --mount=type=secret,id=pip_conf --mount=type=secret,id=ca_bundle \
    install-packages

FROM builder AS simulator-packages
COPY requirements/simulator.lock /tmp/packages.lock
RUN --mount=type=cache,target=/var/cache/pip,sharing=locked \
    --mount=type=secret,id=pip_conf --mount=type=secret,id=ca_bundle \
    install-packages

FROM builder AS exporter-packages
COPY requirements/exporter.lock /tmp/packages.lock
RUN --mount=type=cache,target=/var/cache/pip,sharing=locked \
    --mount=type=secret,id=pip_conf --mount=type=secret,id=ca_bundle \
    install-packages

FROM builder AS etlctl-packages
COPY requirements/etlctl.lock /tmp/packages.lock
RUN --mount=type=cache,target=/var/cache/pip,sharing=locked \
    --mount=type=secret,id=pip_conf --mount=type=secret,id=ca_bundle \
    install-packages

# --- source: byte-compiled once, because the containers' file systems are read-only ---------------
FROM ${PYTHON_IMAGE} AS source
WORKDIR /app
COPY common ./common
COPY services ./services
COPY etlctl ./etlctl
RUN python3 -m compileall -q -j 0 .

# --- runtime: an interpreter, a user, nothing to install with -------------------------------------
FROM ${PYTHON_IMAGE} AS runtime
COPY deploy/image/strip-installers /tmp/strip-installers
# A named volume takes owner and mode of the folder that it is first mounted on.
RUN /tmp/strip-installers && rm /tmp/strip-installers \
    && echo 'etl:x:10001:' >>/etc/group \
    && echo 'etl:x:10001:10001:etl:/nonexistent:/usr/sbin/nologin' >>/etc/passwd \
    && install -d -o 10001 -g 10001 -m 0750 /run/sink /var/log/etl /var/lib/etl
# A service is one worker: POLARS_MAX_THREADS; more of them are more containers.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONPATH=/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    POLARS_MAX_THREADS=1 \
    MALLOC_ARENA_MAX=2 \
    ETL_CONFIG=/etc/etl/etl.yaml
WORKDIR /app
COPY config/etl.yaml /etc/etl/etl.yaml
COPY pyproject.toml ./pyproject.toml
COPY --from=source /app/common ./common
COPY --from=source /app/services/__init__.py ./services/__init__.py
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.vendor="prometheus-influxdb-etl" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001

FROM runtime AS extractor
LABEL org.opencontainers.image.title="extractor" \
      org.opencontainers.image.description="Reads windows of Prometheus history into the stream of raw samples"
COPY --from=extractor-packages /opt/venv /opt/venv
COPY --from=source /app/services/extractor ./services/extractor
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-S", "-m", "common.healthcheck", "8080"]
ENTRYPOINT ["python", "-m", "services.extractor"]

FROM runtime AS transformer
LABEL org.opencontainers.image.title="transformer" \
      org.opencontainers.image.description="Cleans raw samples and writes them as line protocol"
COPY --from=transformer-packages /opt/venv /opt/venv
COPY --from=source /app/services/transformer ./services/transformer
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-S", "-m", "common.healthcheck", "8080"]
ENTRYPOINT ["python", "-m", "services.transformer"]

FROM runtime AS loader
LABEL org.opencontainers.image.title="loader" \
      org.opencontainers.image.description="Posts points to InfluxDB and judges its answers"
COPY --from=loader-packages /opt/venv /opt/venv
COPY --from=source /app/services/loader ./services/loader
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-S", "-m", "common.healthcheck", "8080"]
ENTRYPOINT ["python", "-m", "services.loader"]

FROM runtime AS simulator
LABEL org.opencontainers.image.title="simulator" \
      org.opencontainers.image.description="A monitored test application and a simulated ETL process"
COPY --from=simulator-packages /opt/venv /opt/venv
COPY --from=source /app/services/simulator ./services/simulator
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-S", "-m", "common.healthcheck", "8000"]
ENTRYPOINT ["python", "-m", "services.simulator"]

FROM runtime AS exporter
LABEL org.opencontainers.image.title="exporter" \
      org.opencontainers.image.description="etl-metrics: what no single worker knows, as Prometheus metrics"
COPY --from=exporter-packages /opt/venv /opt/venv
COPY --from=source /app/services/exporter ./services/exporter
EXPOSE 8083
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-S", "-m", "common.healthcheck", "8083"]
ENTRYPOINT ["python", "-m", "services.exporter"]

# The operator's command: docker compose run --rm etlctl status. It serves nothing, so it has no
# health check; it is alive as long as its command is.
FROM runtime AS etlctl
LABEL org.opencontainers.image.title="etlctl" \
      org.opencontainers.image.description="The operator's command: status, verify, dead letters"
COPY --from=etlctl-packages /opt/venv /opt/venv
COPY --from=source /app/services ./services
COPY --from=source /app/etlctl ./etlctl
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "etlctl"]
CMD ["--help"]
