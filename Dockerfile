# The suite in a box: `docker build -t imssl-bench .`, then `docker run --rm --init imssl-bench` runs the demo.
# Pin the base harder with --build-arg BASE=python:3.12-slim-bookworm@sha256:...
ARG BASE=python:3.12.12-slim-bookworm
FROM ${BASE}

# HOME and USER serve user ids that the image does not know (docker run --user).
ENV HOME=/home/bench \
    USER=bench \
    DVC_NO_ANALYTICS=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VIRTUAL_ENV=/opt/venv \
    PATH=/opt/venv/bin:$PATH

WORKDIR /app

# The libraries are a layer of their own: it is built again only when the lock changes.
# There is no git in the image, so DVC is told not to look for one.
COPY requirements.lock ./
RUN python3 -m venv "$VIRTUAL_ENV" \
    && pip install --require-hashes --requirement requirements.lock \
    && dvc config --system core.no_scm true

# Any user id may read the code and write what a run makes: dvc.lock in /app, and all below these folders.
COPY . .
RUN pip install --no-deps --no-build-isolation --editable . \
    && useradd --uid 1000 --home-dir "$HOME" bench \
    && chmod -R a+rX . \
    && install --directory --mode 0777 "$HOME" . .bench .dvc .dvc/cache .dvc/tmp data reports results

USER 1000:1000
ENTRYPOINT ["bench"]
CMD ["repro"]
