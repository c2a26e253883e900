# The suite in a box: `docker build -t imssl-bench .`, then `docker run imssl-bench` runs the demo.
# Pin the base harder with --build-arg BASE=python:3.12-slim-bookworm@sha256:...
ARG BASE=python:3.12.12-slim-bookworm
FROM ${BASE}

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH

WORKDIR /app

# The libraries are a layer of their own: it is built again only when the lock changes.
COPY requirements.lock ./
RUN python3 -m venv "$VIRTUAL_ENV" \
    && pip install --require-hashes --requirement requirements.lock

COPY . .
# There is no git in the image, so DVC is told not to look for one.
RUN pip install --no-deps --no-build-isolation --editable . \
    && dvc config --local core.no_scm true \
    && useradd --create-home --uid 1000 bench \
    && mkdir -p data results reports .bench .dvc/cache .dvc/tmp \
    && chown -R bench:bench /app

USER bench
ENTRYPOINT ["bench"]
CMD ["repro"]
