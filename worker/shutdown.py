"""Whether this worker process was asked to end; every loop in it looks here."""

import threading

REQUESTED = threading.Event()
"""Set by the first SIGTERM or Ctrl-C and never cleared."""

PATIENCE_SECONDS = 45.0
"""For a running job to write its checkpoint. Whoever stops containers must wait longer."""
