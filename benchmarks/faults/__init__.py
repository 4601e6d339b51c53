"""The fault campaign: real jobs on real servers, while these and the service's processes fail."""
