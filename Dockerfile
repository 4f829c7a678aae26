# A release: one model and the code that serves it.
#
#   docker build -t flights .
#
# The context is this folder, or a staged one of the same shape: Dockerfile, mlkit/, deploy/image/requirements.lock,
# deploy/serve/gunicorn.conf.py and, if the image shall hold a model, its bundle in model/.
# Plain instructions only, so that Docker with and without BuildKit, podman and buildah all build it
# (the last two want --format docker, or they leave the health check out).

ARG BASE_IMAGE=python:3.11-slim-bookworm
# What differs from the base only for building (a company's certificates, pip settings) stays out of the release.
ARG BUILD_IMAGE=${BASE_IMAGE}


# --- what the server imports: changes seldom
FROM ${BUILD_IMAGE} AS packages
ARG SOURCE_DATE_EPOCH=1735689600
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONDONTWRITEBYTECODE=1
# LightGBM's OpenMP runtime is missing in the official slim image. It is taken from Debian there, and shipped in
# our own layer in any case, so that every base gives the same release. A release that leaves LightGBM out
# (contributions = no in [release] of settings.ini) has no use for it.
COPY deploy/image/requirements.lock /src/
RUN set -eu; \
    grep -q '^lightgbm==' /src/requirements.lock || exit 0; \
    ls /usr/lib/*/libgomp.so.1 >/dev/null 2>&1 || \
      { apt-get update -q && apt-get install -q -y --no-install-recommends libgomp1; }; \
    for library in /usr/lib/*/libgomp.so.1; do \
      mkdir -p "/out$(dirname "$library")"; cp -L "$library" "/out$library"; \
    done
# pip itself lives beside the environment, not in it.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv
# The lock is complete by itself: see requirements.txt for why dependencies are not followed.
# Out goes what only tests, type checkers and compilers read.
RUN set -eu; \
    /opt/pip/bin/pip --python /opt/venv/bin/python install -q --no-compile --no-deps --require-hashes -r /src/requirements.lock; \
    find /opt/venv -depth -type d \( -name tests -o -name __pycache__ -o -path '*/numpy/f2py' -o -path '*/numpy/_core/include' \) \
      -exec rm -rf {} +; \
    find /opt/venv -type f \( -name '*.pyi' -o -name '_simd.*.so' \) -delete; \
    mkdir -p /out/opt; cp -a /opt/venv /out/opt/
# Bytecode of all that the server imports, Python's own library included: on a read-only disk each start of each worker
# would compile it anew. It is never compared with its source (unchecked-hash), which nobody changes in an image.
COPY mlkit/ /src/mlkit/
RUN set -eu; cd /src; export PYTHONHASHSEED=0; \
    /opt/venv/bin/python -c "import sys, gunicorn.app.wsgiapp, mlkit.serve.asgi, mlkit.serve.worker; \
      files = {getattr(module, '__file__', None) or '' for module in list(sys.modules.values())}; \
      print(*sorted(name for name in files if name.endswith('.py') and not name.startswith('/src')), sep='\n')" > imported; \
    PYTHONPYCACHEPREFIX=/out/opt/bytecode /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash -i imported; \
    find /out -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +


# --- our own code: a few hundred kilobytes
FROM ${BUILD_IMAGE} AS code
ARG SOURCE_DATE_EPOCH=1735689600
COPY mlkit/ /out/app/mlkit/
COPY deploy/serve/gunicorn.conf.py /out/app/
RUN set -eu; find /out -depth -name __pycache__ -type d -exec rm -rf {} +; \
    PYTHONHASHSEED=0 PYTHONPYCACHEPREFIX=/bytecode python3 -m compileall -q --invalidation-mode unchecked-hash -s /out /out/app; \
    mkdir -p /out/opt/bytecode; mv /bytecode/out/app /out/opt/bytecode/; \
    chmod -R u=rwX,go=rX /out; find /out -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +


# --- the model
FROM ${BUILD_IMAGE} AS model
ARG SOURCE_DATE_EPOCH=1735689600
# COPY wants at least one file, and there need not be a model: the Dockerfile is always there. The brackets make
# a pattern of the name, and a pattern may match nothing.
COPY Dockerfile mode[l] /out/model/
RUN rm /out/model/Dockerfile && chmod -R u=rwX,go=rX /out && find /out -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +


# --- the release: layers in the order in which they change, so that a new model ships as a few megabytes
FROM ${BASE_IMAGE}
ENV PATH=/opt/venv/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app PYTHONPYCACHEPREFIX=/opt/bytecode PYTHONUNBUFFERED=1 MLKIT_MODEL=/model
COPY --from=packages /out/ /
COPY --from=code /out/ /
COPY --from=model /out/ /
WORKDIR /app
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
# http.client, since urllib would ask a proxy that the environment names.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python3", "-c", "import http.client, os; c = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT', 8000)), timeout=2); c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["gunicorn", "-c", "/app/gunicorn.conf.py", "mlkit.serve.asgi:application()"]
