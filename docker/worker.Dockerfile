# The worker process, with torch. Build from the root of the repository:
#   docker build -f docker/worker.Dockerfile -t nn-factory-worker .
# The default wheel of torch runs on CPU and on NVIDIA GPUs and is large. For a small image without CUDA, name an
# index that offers CPU-only wheels:
#   docker build -f docker/worker.Dockerfile --build-arg TORCH_INDEX=URL -t nn-factory-worker .
FROM python:3.11-slim

ARG TORCH_INDEX=""

WORKDIR /app
COPY pyproject.toml constraints.txt README.md ./
RUN if [ -n "$TORCH_INDEX" ]; then \
        pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX" torch torchvision; \
    fi
COPY supernet supernet
COPY assembler assembler
COPY service service
RUN pip install --no-cache-dir --constraint constraints.txt ".[worker,telemetry]" \
    && useradd --system --uid 10001 nnfactory \
    && install -d -o nnfactory /data

# By its number, which any host can tell from root.
USER 10001
ENV NNF_DATA_DIR=/data \
    NNF_TORCH_DEVICE=auto
VOLUME /data
# The process that keeps the worker's leases ends with it; the first start measures this machine, for a minute.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-m", "service.heart", "--check"]
CMD ["nnfactory", "worker"]
