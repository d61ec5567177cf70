# syntax=docker/dockerfile:1
# The GPU worker. torch's wheels bring CUDA's libraries; the driver comes from the host (NVIDIA's container toolkit), so
# no CUDA base image is needed. For a machine without a GPU build with TORCH_INDEX=https://download.pytorch.org/whl/cpu.
#
# The base image is pinned by tag; containers/release.sh resolves it to its digest and builds with that.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ARG TORCH_INDEX=https://pypi.org/simple
WORKDIR /app
COPY pyproject.toml constraints.txt ./
COPY containers/requirements.py ./
RUN python -m venv /opt/venv \
  && python requirements.py worker > requirements.txt \
  && grep "^torch" requirements.txt > torch.txt \
  && /opt/venv/bin/pip install --no-cache-dir --no-compile --constraint constraints.txt --index-url "${TORCH_INDEX}" \
    --extra-index-url https://pypi.org/simple --requirement torch.txt \
  && /opt/venv/bin/pip install --no-cache-dir --no-compile --constraint constraints.txt --requirement requirements.txt

FROM ${PYTHON_IMAGE}
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin pingvas \
  && install -d -o pingvas -g pingvas -m 0700 /models
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY gen gen
COPY models models
COPY svc_common svc_common
COPY gpu_worker gpu_worker
RUN ["/opt/venv/bin/python", "-m", "compileall", "-q", "-j", "0", "/app", "/opt/venv/lib"]
ENV PATH=/opt/venv/bin:$PATH \
  PYTHONPATH=/app:/app/gen \
  PYTHONUNBUFFERED=1 \
  PYTHONDONTWRITEBYTECODE=1 \
  GRPC_EXPERIMENTS=-event_engine_client,-event_engine_listener \
  HF_HUB_OFFLINE=1 \
  NVIDIA_VISIBLE_DEVICES=all \
  NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:10001
CMD ["python", "-m", "gpu_worker.main"]
