# syntax=docker/dockerfile:1
# This image has the C compiler that builds the compiled encoder.
FROM python:3.12-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/kindledger && /opt/kindledger/bin/pip install --quiet "setuptools>=77" "Cython>=3.1"
COPY requirements.lock ./
RUN /opt/kindledger/bin/pip install --quiet --no-deps --require-hashes -r requirements.lock
# .dockerignore lists the files of the build context: only those that are installed.
COPY . .
RUN /opt/kindledger/bin/pip install --quiet --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin kindledger
COPY --from=build /opt/kindledger /opt/kindledger
ENV PATH=/opt/kindledger/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001
# The program writes no file: the root file system can be read-only (docker run --read-only --tmpfs /tmp).
EXPOSE 8080
ENTRYPOINT ["kindledger"]
CMD ["run"]
