"""Import Feast without what importing it does to the rest of the process."""

import os
import tempfile
from contextlib import suppress

_SHARED_METRICS = ("PROMETHEUS_MULTIPROCESS_DIR", "PROMETHEUS_MULTIPROC_DIR")


def import_feast() -> None:
    """Import Feast, which takes seconds; call it before the first import of anything of Feast's.

    Feast 0.67 makes a temporary folder and names it in the environment, which moves every metric of this process and
    of the processes it starts into files there, and adds metrics of its feature server to our page.
    """
    import prometheus_client.values  # noqa: F401 - it decides at its import where values live

    before = {name: os.environ.get(name) for name in _SHARED_METRICS}
    os.environ.setdefault(_SHARED_METRICS[0], tempfile.gettempdir())
    try:
        import feast.metrics
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
    from prometheus_client import REGISTRY
    from prometheus_client.metrics import MetricWrapperBase

    for metric in vars(feast.metrics).values():
        if isinstance(metric, MetricWrapperBase):
            with suppress(KeyError):  # done before
                REGISTRY.unregister(metric)
