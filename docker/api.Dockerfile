# The HTTP process: no torch. Build from the root of the repository:
#   docker build -f docker/api.Dockerfile -t nn-factory-api .
FROM python:3.11-slim

WORKDIR /app
COPY pyproject.toml constraints.txt README.md ./
COPY supernet supernet
COPY assembler assembler
COPY service service
RUN pip install --no-cache-dir --constraint constraints.txt ".[telemetry]" \
    && useradd --system --uid 10001 nnfactory \
    && install -d -o nnfactory /data

# By its number, which any host can tell from root.
USER 10001
ENV NNF_DATA_DIR=/data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
# Serving on all addresses of the container wants NNF_AUTH=required, or NNF_AUTH=off said openly.
CMD ["nnfactory", "api", "--host", "0.0.0.0", "--port", "8000"]
