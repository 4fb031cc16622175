"""Which release of the program this is."""

import importlib.metadata


def release() -> str:
    """The installed version; empty in a copy that was never installed."""
    try:
        return importlib.metadata.version("atoll")
    except importlib.metadata.PackageNotFoundError:
        return ""
