# One image for the web service (the default command), the cron daemon, migrations and the sandbox. It holds no secrets
# and no configuration of a particular installation; docker-compose.yml shows how to run it. It builds without BuildKit,
# which not every builder has.

ARG PYTHON=python:3.13-slim-trixie

# The cron daemon. Debian's cron gives jobs an empty environment, mails their output and abandons them on SIGTERM.
# supercronic passes on the environment and the output, does not need root, and on SIGTERM waits for the running job.
# `go install` checks the module against Go's public checksum database.
FROM golang:1.26.3-trixie AS cron
RUN CGO_ENABLED=0 go install -trimpath -ldflags='-s -w' github.com/aptible/supercronic@v0.2.45

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
# Dependencies first: a change of our code then does not install them again.
COPY requirements.txt ./
RUN pip install --require-hashes --only-binary :all: -r requirements.txt
COPY setup.cfg pyproject.toml README.md LICENSE ./
COPY productagg/ productagg/
# The final image does not need pip.
RUN pip install --no-deps --no-build-isolation . && pip uninstall --yes pip

FROM ${PYTHON}
# Output is not buffered, so it reaches the log at once. pip has compiled the bytecode, and the file system may be
# read-only at run time. Pyramid and Cornice import pkg_resources, which warns at each start that setuptools 82 removes it;
# setup.cfg keeps setuptools below 82.
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    PYTHONWARNINGS="ignore:pkg_resources is deprecated:UserWarning"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /app --shell /usr/sbin/nologin productagg
WORKDIR /app
COPY --from=cron /go/bin/supercronic /usr/local/bin/supercronic
COPY --from=build /opt/venv /opt/venv
COPY production.ini crontab ./
COPY alembic/ alembic/
# A number and not a name, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 6543
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; port = os.environ.get('PORT') or '6543'; \
          u.urlopen(f'http://127.0.0.1:{port}/health/live', timeout=4)"]
# The shell reads $OWN_PROCESSOR, and $PORT and $WEB_CONCURRENCY, which Heroku and others set. exec replaces it, so that
# the server is process number 1 and receives SIGTERM.
CMD ["sh", "-c", "exec pserve production.ini http_port=${PORT:-6543} processes=${WEB_CONCURRENCY:-1} own_processor=${OWN_PROCESSOR:-true}"]
