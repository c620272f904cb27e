# `tuner` for the service, its workers and all other commands. CPU by default; for CUDA:
#   docker compose build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
# It has no HEALTHCHECK: what health is depends on the command, so compose and Kubernetes say it.
# The base is named by digest (3.12.15, of all platforms), so that builds are the same each time. Of
# today: docker buildx imagetools inspect python:3.12-slim-trixie, then --build-arg BASE=...
ARG BASE=python:3.12-slim-trixie@sha256:a6e34c598f2467ed0e9a8d349809fcd8b5c603269512df273a0bb1784edc11b1
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
