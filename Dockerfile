# `tuner` for the service, its workers and all other commands. CPU by default; for CUDA:
#   docker compose build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
# It has no HEALTHCHECK: what health is depends on the command, so compose and Kubernetes say it.
FROM python:3.12-slim-trixie

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# A number, so that Kubernetes sees that it is not root.
RUN useradd --create-home --uid 1000 tuner && install -d -o tuner /data
WORKDIR /app

# torch first: it changes rarely and weighs most.
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision

COPY pyproject.toml README.md LICENSE ./
COPY objectives ./objectives
COPY storage ./storage
COPY tuner ./tuner
RUN pip install --no-cache-dir '.[postgres,mysql,serve]'

USER 1000:1000
WORKDIR /data
ENV TZ=UTC PYTHONUNBUFFERED=1
ENTRYPOINT ["tuner"]
CMD ["--help"]
