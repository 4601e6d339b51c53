"""A client of the DCPI service.

with Client("http://localhost:8000") as dcpi:
    job = dcpi.jobs.create({"dataset": "cifar10", "fraction": "0.2%", "base_method": "dc",
                            "pi_type": "feature"})
    done = dcpi.jobs.wait(job.id)
    dcpi.condensed.download(done.result.condensed_id, "bundle")
"""

from dcpi_core.client.api import Client
from dcpi_core.client.errors import ApiError, ServiceUnreachable
from dcpi_core.client.waiting import WaitedTooLong

__all__ = ["ApiError", "Client", "ServiceUnreachable", "WaitedTooLong"]
