# CPU: docker build -t yolo-attn .        GPU: docker build -t yolo-attn --build-arg BASE=pytorch/pytorch:2.6.0-cuda12.4-cudnn9-runtime .
# Run: docker run --rm -it -v "$PWD:/work" yolo-attn demo --fast     (GPU: --gpus all --shm-size 8g)
ARG BASE=python:3.11-slim-bookworm
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN pip install --no-cache-dir /src && rm -rf /src
WORKDIR /work
ENTRYPOINT ["yolo-attn"]
CMD ["--help"]
