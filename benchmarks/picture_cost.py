"""What a round over pictures costs beside training: `OMP_NUM_THREADS=1 python -m benchmarks.picture_cost`.

A ResNet-18 has 11 million parameters. One hospital's local epoch on its pictures is timed over a few batches and scaled
to all its batches; its own share of the masked sum with five hospitals (encode and mask its update; add five, unmask
and decode) is timed whole, in the same process and between the batches, so that both meet the same machine. Peak memory
of masking and of aggregating is printed in updates.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
from benchmarks.secure_sum import masked_bytes, streamed
from benchmarks.secure_sum_memory import peak_of

from medfed.models.dataset import Dataset
from medfed.models.settings import LocalTraining, ResNet18Model
from medfed.models.torch_classifier import ImageClassifier
from medfed.secure_sum import unmask_sum

HOSPITALS = 5
BATCH = 4
REPEATS = 3


def seconds(task: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=146, help="of the hospital: as the largest of BCCD")
    parser.add_argument("--side", type=int, default=128, help="pixels")
    arguments = parser.parse_args()
    learner = ImageClassifier(ResNet18Model(side=arguments.side, channels=3), "binary", 1)
    start = learner.initial(0)
    rng = np.random.default_rng(0)
    pictures = rng.random((BATCH, learner.inputs), dtype=np.float32)
    data = Dataset(pictures, (np.arange(BATCH) % 2).astype(np.float32))
    one_batch = LocalTraining(steps=1, batch_size=BATCH, optimizer="adam", learning_rate=1e-3)
    update = (rng.normal(0, 1e-3, start.flat.size)).astype(np.float32)
    masked = masked_bytes(update, HOSPITALS).tobytes()
    seeds = [os.urandom(32) for _ in range(HOSPITALS)]

    def aggregate() -> object:
        return unmask_sum(streamed([masked] * HOSPITALS), seeds, [], update.size)

    learner.train(start, data, one_batch, np.random.default_rng(0))  # the first call loads torch
    batches, masks, sums = list[float](), list[float](), list[float]()
    for at in range(REPEATS):
        batches.append(seconds(lambda at=at: learner.train(start, data, one_batch, np.random.default_rng(at))))
        masks.append(seconds(lambda: masked_bytes(update, HOSPITALS)))
        sums.append(seconds(aggregate))
    # A training of one batch also looks at the loss of all its pictures once more, as an epoch's does at its end.
    epoch = statistics.median(batches) * -(-arguments.pictures // BATCH)
    mask, total = statistics.median(masks), statistics.median(sums)
    print(f"parameters      {update.size:,}; {HOSPITALS} hospitals")
    print(f"local epoch     {epoch:.1f} s ({arguments.pictures} pictures of {arguments.side} pixels)")
    print(f"mask            {mask:.2f} s\naggregate       {total:.2f} s")
    print(f"share           {(mask + total) / epoch:.1%} of a local epoch (bar: at most 5 %)")
    print(f"memory, mask    {peak_of(lambda: masked_bytes(update, HOSPITALS)) / len(masked):.1f} updates")
    print(f"memory, sum     {peak_of(aggregate) / len(masked):.1f} updates (bar: at most 3)")


if __name__ == "__main__":
    main()
