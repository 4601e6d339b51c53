"""The quick benchmarks, one after the other: ``python -m benchmarks``.

``benchmarks.cifar10``, which takes an hour and needs the images, is run by its own command.
"""

import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
QUICK = {
    "dc_iteration_1_per_class": ["matching_steps", "--subject", "dc"],
    "dc_iteration_10_per_class": [
        *("matching_steps", "--subject", "dc"),
        *("--images-per-class", "10", "--rounds", "2"),
    ],
    "evaluation_5_students": ["evaluation"],
    "coreset_selection": ["coreset_selection"],
    "siamese_augmentation": ["matching_steps", "--subject", "pipeline", "--steps", "30"],
    "dm_step_1_per_class": ["matching_steps", "--subject", "dm"],
    "dsa_step_1_per_class": ["matching_steps", "--subject", "dsa"],
}

if __name__ == "__main__":
    for name, (module, *arguments) in QUICK.items():
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments]
        subprocess.run([*command, "--out", str(RESULTS / f"{name}.json")], check=True)
