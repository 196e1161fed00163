# sepfactor in a container, with the networks and data of the folder it is started from:
#   docker build -t sepfactor .
#   docker run --rm -u "$(id -u):$(id -g)" -v "$PWD:/work" sepfactor compress model.onnx --data images/
FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY sepfactor sepfactor
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.13-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/*.whl)[images,html]" && rm -r /wheels
WORKDIR /work
ENTRYPOINT ["sepfactor"]
CMD ["--help"]
