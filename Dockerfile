# One image for every process: web (the default command), worker, beat and manage.py.
# The base is an argument, so that a mirror or a digest can take its place:
#   docker build --build-arg PYTHON_IMAGE=registry.example.com/python:3.13-slim .
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
ENV UV_PROJECT_ENVIRONMENT=/opt/venv \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1
WORKDIR /app
RUN --mount=type=cache,target=/root/.cache pip install --disable-pip-version-check --root-user-action=ignore uv==0.13.9
# Dependencies before code: they are installed again only when the lock file has changed.
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache uv sync --frozen --no-dev --all-extras

FROM ${PYTHON_IMAGE}
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
RUN groupadd --system --gid 10001 app \
 && useradd --system --uid 10001 --gid app --home-dir /app --no-create-home --shell /usr/sbin/nologin app
WORKDIR /app
COPY --from=build /opt/venv /opt/venv
COPY . .
# Static files get their final names now. The key is thrown away: it only keeps Django from asking for one.
RUN SECRET_KEY="$(python -c 'import secrets; print(secrets.token_urlsafe(50))')" DEBUG=false \
    python manage.py collectstatic --noinput \
 && python -m compileall -q . \
 && rm -rf var && install --directory --owner=app --group=app var
# Without settings the image must not run as on a laptop, with DEBUG, for everybody. It says what production needs.
ENV ENVIRONMENT=production
# As a number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 8000
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "app.wsgi"]
