# syntax=docker/dockerfile:1.10
# The orchestrator: takes a whole request and fans it out to the other endpoints. It needs no GPU and holds no model.
# FANSCRIBE_DEPLOYMENT tells it which endpoints there are; `fanscribe deploy` sets that.

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
    pip install --constraint constraints.txt ".[orchestrator]"

FROM python:3.11.14-slim-bookworm
RUN useradd --create-home --uid 10001 worker
COPY --from=build /opt/fanscribe /opt/fanscribe
ENV PATH=/opt/fanscribe/bin:$PATH \
    PYTHONUNBUFFERED=1
# root, where a network volume is to be written and belongs to root.
ARG WORKER_USER=worker
USER ${WORKER_USER}
WORKDIR /home/worker
CMD ["python", "-m", "fanscribe_orchestrator"]
