# One image for everything: the web service (the default command), the cron daemon, migrations, the sandbox.
# It holds no secret and no configuration of a particular place; docker-compose.yml shows how to run it. Nothing here
# needs BuildKit: not every builder has it.

ARG PYTHON=python:3.13-slim-trixie

# The cron daemon. Debian's gives jobs an empty environment, mails their output and leaves them behind on SIGTERM;
# supercronic hands the environment on, lets the output through, needs no root and, told to stop, waits for the job
# that runs. `go install` checks the module against Go's public checksum database.
FROM golang:1.26.3-trixie AS cron
RUN CGO_ENABLED=0 go install -trimpath -ldflags='-s -w' github.com/aptible/supercronic@v0.2.45

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
# What changes seldom comes first: a change of our code installs no dependency anew.
COPY requirements.txt ./
RUN pip install --require-hashes --only-binary :all: -r requirements.txt
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY productagg/ productagg/
# pip is of no use in the final image.
RUN pip install --no-deps --no-build-isolation . && pip uninstall --yes pip

FROM ${PYTHON}
# Output reaches the log as it is written. Bytecode was compiled by pip; at run time the file system may be read-only.
# Pyramid and Cornice import pkg_resources, which says at each start that setuptools 82 drops it; setup.cfg is below that.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    PYTHONWARNINGS="ignore:pkg_resources is deprecated:UserWarning"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /app --shell /usr/sbin/nologin productagg
WORKDIR /app
COPY --from=cron /go/bin/supercronic /usr/local/bin/supercronic
COPY --from=build /opt/venv /opt/venv
COPY production.ini crontab ./
COPY alembic/ alembic/
# By number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 6543
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; port = os.environ.get('PORT') or '6543'; \
          u.urlopen(f'http://127.0.0.1:{port}/health/live', timeout=4)"]
# A shell only to read $OWN_PROCESSOR, and $PORT and $WEB_CONCURRENCY, which Heroku and others set; exec then makes the server process number 1.
CMD ["sh", "-c", "exec pserve production.ini http_port=${PORT:-6543} processes=${WEB_CONCURRENCY:-1} own_processor=${OWN_PROCESSOR:-true}"]
