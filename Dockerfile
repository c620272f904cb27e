# The tuner for workers and the dashboard. CPU by default; for CUDA:
#   docker compose build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130
FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

RUN useradd --create-home --uid 1000 tuner && install -d -o tuner /data
WORKDIR /app

# torch first: it changes rarely and weighs most.
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision

COPY pyproject.toml README.md LICENSE ./
COPY objectives ./objectives
COPY storage ./storage
COPY tuner ./tuner
RUN pip install --no-cache-dir '.[postgres]'

USER tuner
WORKDIR /data
ENV TZ=UTC PYTHONUNBUFFERED=1
ENTRYPOINT ["tuner"]
CMD ["--help"]
