# The page and the API of the model that comes with SunFish, on a CPU; docs/containers.md says how to start it.
FROM python:3.12-slim

# An index with PyTorch's builds for CPUs, where there is one; the others bring gigabytes of GPU libraries.
ARG PIP_EXTRA_INDEX_URL

WORKDIR /app
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --constraint constraints.txt ".[serve]" \
    && useradd --create-home --uid 1000 sunfish

USER 1000
WORKDIR /home/sunfish
ENV PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["sunfish"]
CMD ["serve", "demo", "--host", "0.0.0.0"]
