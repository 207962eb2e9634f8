# The one image of the platform: every component (`serve --target X`) and every Lambda function. docs/images.md has the why.
# The base by digest: --build-arg PYTHON_IMAGE=python@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements/build.lock requirements/serve.lock requirements/
# pip stays behind in this stage: what runs cannot install anything.
RUN python -m venv tools && tools/bin/pip install --quiet --no-deps --require-hashes -r requirements/build.lock
RUN python -m venv --without-pip /opt/slipway
RUN tools/bin/pip --python /opt/slipway/bin/python install --quiet --no-deps --no-compile --require-hashes --only-binary :all: -r requirements/serve.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . && tools/bin/pip --python /opt/slipway/bin/python install --quiet --no-deps --no-compile --no-index dist/*.whl
# Bytecode that no date of a file makes stale: the root file system is read-only, so what is missing would be made anew at each start.
RUN python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/slipway/lib

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 10001 slipway && useradd --uid 10001 --gid 10001 --home-dir /var/lib/slipway --no-create-home --shell /usr/sbin/nologin slipway && install -d -o 10001 -g 10001 -m 0711 /var/lib/slipway
COPY --from=build /opt/slipway /opt/slipway
# No manifest: what runs is told its own (SLIPWAY_MANIFEST_TEXT), and a change of it needs no other image.
COPY LICENSE /usr/share/doc/slipway/
ENV PATH=/opt/slipway/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENV HOME=/var/lib/slipway SLIPWAY_HOME=/var/lib/slipway SLIPWAY_HOST=0.0.0.0
WORKDIR /var/lib/slipway
# All that is written. A volume made here has the owner that it has in the image, on Fargate too.
VOLUME ["/var/lib/slipway", "/tmp"]
USER 10001:10001
EXPOSE 8700
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8700, timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["slipway"]
CMD ["serve"]
