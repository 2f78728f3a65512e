#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs what a build and the tests need, and only what is missing. Prints the CUDA toolkit's folder on its last line.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(gcc g++ libc6-dev meson ninja-build pkg-config libzstd-dev libiberty-dev libcriterion-dev libjansson-dev libzip-dev
    python3 python3-numpy python3-pip unzip clang-format scdoc)
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    root=()
    if [ "$(id -u)" != 0 ]; then root=(sudo); fi
    echo "installing: ${missing[*]}" >&2
    "${root[@]}" apt-get -o Acquire::Retries=3 update -qq >&2
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 install -y -qq --no-install-recommends \
        "${missing[@]}" >&2
fi

# Only a test needs it: it reads exports as trainers do.
safetensors=safetensors==0.8.0
if [ ! -d ".python/${safetensors/==/-}.dist-info" ]; then
    rm -rf .python
    PIP_ROOT_USER_ACTION=ignore /usr/bin/python3 -m pip install -q --no-deps --only-binary=:all: --target .python "$safetensors" >&2 ||
        echo "no $safetensors: the test of exports in trainers will be skipped" >&2
fi

# MOETAP_NO_SYSTEM_CUDA=1 takes the wheels also where there is a toolkit: to test them.
if [ -z "${MOETAP_NO_SYSTEM_CUDA:-}" ]; then
    for home in "${CUDA_HOME:-}" "$(dirname "$(dirname "$(command -v nvcc || echo /none/none)")")" /usr/local/cuda /opt/cuda; do
        if [ -n "$home" ] && [ -x "$home/bin/nvcc" ] && [ -f "$home/include/cuda.h" ]; then
            readlink -f "$home"
            exit 0
        fi
    done
fi

# NVIDIA's compiler and headers as wheels from PyPI, pinned.
version=13.0.88
wheels=(nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.88
    nvidia-cuda-cupti==13.0.85 nvidia-cuda-cccl==13.0.85)
cuda=$PWD/.cuda/$version
if [ ! -x "$cuda/nvidia/cu13/bin/nvcc" ]; then
    rm -rf "$cuda.part"
    mkdir -p "$cuda.part/wheels"
    /usr/bin/python3 -m pip download -q --no-deps --only-binary=:all: -d "$cuda.part/wheels" "${wheels[@]}" >&2
    for wheel in "$cuda.part"/wheels/*.whl; do unzip -q -o "$wheel" -d "$cuda.part"; done
    chmod +x "$cuda.part"/nvidia/cu13/bin/* "$cuda.part"/nvidia/cu13/nvvm/bin/* 2>/dev/null || true
    rm -rf "$cuda.part/wheels" "$cuda"
    mv "$cuda.part" "$cuda"
fi
echo "$cuda/nvidia/cu13"
