# syntax=docker/dockerfile:1.10
# A worker of the family parakeet_onnx: Parakeet on onnxruntime: no torch, a small image that starts quickly.
# FANSCRIBE_VARIANT chooses the model when a worker starts; BAKE_MODEL puts the weights of one variant into the image.

FROM python:3.11.14-slim-bookworm AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential \
    && rm -rf /var/lib/apt/lists/* \
    && python -m venv /opt/fanscribe
ENV PATH=/opt/fanscribe/bin:$PATH
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE NOTICE THIRD_PARTY_NOTICES.md ./
COPY client client
COPY handlers handlers
COPY orchestrator orchestrator
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt ".[parakeet-onnx]"

FROM build AS model
ARG BAKE_MODEL=""
RUN --mount=type=secret,id=HF_TOKEN,env=HF_TOKEN \
    mkdir /opt/model \
    && if [ -n "$BAKE_MODEL" ]; then python -m fanscribe_handlers.bake "$BAKE_MODEL" /opt/model; fi

FROM python:3.11.14-slim-bookworm
RUN useradd --create-home --uid 10001 worker
COPY --from=build /opt/fanscribe /opt/fanscribe
COPY --from=model /opt/model /opt/model
ARG BAKE_MODEL=""
ENV PATH=/opt/fanscribe/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    FANSCRIBE_VARIANT=${BAKE_MODEL} \
    FANSCRIBE_MODEL_DIR=${BAKE_MODEL:+/opt/model}
# root, where a network volume is to be written and belongs to root.
ARG WORKER_USER=worker
USER ${WORKER_USER}
WORKDIR /home/worker
CMD ["python", "-m", "fanscribe_handlers.parakeet_onnx"]
