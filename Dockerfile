# `tuner` for the service, its workers and all other commands. CPU by default; for CUDA:
#   docker compose build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
# It has no HEALTHCHECK: what health is depends on the command, so compose and Kubernetes say it.
# For builds that are the same each time, name the base by digest: --build-arg BASE=python@sha256:...
ARG BASE=python:3.12-slim-trixie
FROM $BASE

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# A number, so that Kubernetes sees that it is not root.
RUN useradd --create-home --uid 1000 tuner && install -d -o tuner /data
WORKDIR /app

# torch first: it changes rarely and weighs most.
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch==2.14.1 torchvision==0.29.1

# The rest as `make lock` has noted it, by hash.
COPY requirements.lock ./
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY objectives ./objectives
COPY storage ./storage
COPY tuner ./tuner
RUN pip install --no-cache-dir --no-deps . && pip check && pip inspect > bill-of-materials.json

USER 1000:1000
WORKDIR /data
ENV TZ=UTC PYTHONUNBUFFERED=1
ENTRYPOINT ["tuner"]
CMD ["--help"]
