# syntax=docker/dockerfile:1.10
# A worker of the family combined: several variants in one worker, on CUDA 12 for faster-whisper. It has the
# libraries of the built-in combinations; MORE_EXTRAS adds those of other families, where their pins agree with these.
# FANSCRIBE_VARIANT chooses the combination when a worker starts; BAKE_MODEL puts the weights of one into the image.

FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04 AS build
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && python3 -m venv /opt/fanscribe
ENV PATH=/opt/fanscribe/bin:$PATH
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE NOTICE THIRD_PARTY_NOTICES.md ./
COPY client client
COPY handlers handlers
COPY orchestrator orchestrator
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt ".[combined]"
ARG MORE_EXTRAS=""
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -n "$MORE_EXTRAS" ]; then pip install --constraint constraints.txt ".[$MORE_EXTRAS]"; fi

FROM build AS model
ARG BAKE_MODEL=""
RUN --mount=type=secret,id=HF_TOKEN,env=HF_TOKEN \
    mkdir /opt/model \
    && if [ -n "$BAKE_MODEL" ]; then python -m fanscribe_handlers.bake "$BAKE_MODEL" /opt/model; fi

FROM nvidia/cuda:12.8.1-cudnn-runtime-ubuntu24.04
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 worker
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
CMD ["python", "-m", "fanscribe_handlers.combined"]
