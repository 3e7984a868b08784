"""
A million images on a cluster
=============================

A job explains a data set into a folder of shards. It may be killed at any moment and
started again, on one machine or many; no item is lost or done twice. The results are
read by memory map, like an array. Here the same job in small: 240 pictures on this
machine, killed on the way.

Needs ``pip install 'xai-fast[jobs]' matplotlib``; on a cluster of Ray also
``'xai-fast[ray]'``.
"""

# %%
# The job
# -------
# A source, one or more methods with their options, and a model by the name of a
# function that makes it, so that other processes can make it too. A shard of items is
# the unit of work; for a million, leave it at 1,024.

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from xai_fast import jobs
from xai_fast.datasets.generated_shapes import CLASSES, write_pictures
from xai_fast.images import open_image
from xai_fast.plot import overlay

folder = Path(tempfile.mkdtemp())
write_pictures(folder / "pictures", 240)
job = folder / "job.yaml"
job.write_text(f"""
source: {folder / "pictures"}
method:
  - {{name: neflag, options: {{radius: 0.3, points: 10}}}}
  - {{name: lrp, options: {{low: -1.0, high: 1.0}}}}
model: xai_fast.models.generated_shapes:small_classifier
shard_size: 20
""")

# %%
# Start it, and kill it
# ---------------------
# This is ``xai-fast run job.yaml --out explained`` in a shell. On a cluster the same
# file runs with ``--runner rank`` under torchrun, SLURM or Kubernetes, or with
# ``--runner ray``; each process takes shards that nobody has done.

out = folder / "explained"
command = Path(sys.executable).with_name("xai-fast")
process = subprocess.Popen(
    [command, "run", job, "--out", out, "--workers", "0"], stderr=subprocess.DEVNULL
)
while not (out / "job.json").exists() or not jobs.status(out).done:
    time.sleep(0.05)
process.kill()
process.wait()
status = jobs.status(out)
print(f"killed with {status.done} of {status.items} items done")

# %%
# Start it again
# --------------
# The same call goes on where the last one was ended, here from Python.

status = jobs.run(jobs.JobSpec.from_file(job), out, workers=0, progress=False)
print(f"{status.done} of {status.items} done, {status.failed} of them failed")

# %%
# Read it
# -------
# Opening a store reads no maps; an item, or a slice, reads what is asked for.

store = jobs.open(out)
print(store)
print(store[7].id, tuple(store[7].fields["neflag.attributions"].shape))
print(
    "mean score of the first hundred:",
    float(store[:100].fields["neflag.scores"].mean()),
)

figure, axes = plt.subplots(2, 6, figsize=(9, 3.4), layout="constrained")
for (above, below), index in zip(axes.T, range(0, 240, 40), strict=True):
    item = store[index]
    picture = np.asarray(open_image(folder / "pictures" / item.id))
    above.imshow(overlay(picture, item.fields["neflag.attributions"]))
    above.set_title(CLASSES[int(item.fields["neflag.targets"])])
    below.imshow(overlay(picture, item.fields["lrp.attributions"]))
for ax, name in zip(axes[:, 0], ("NeFLAG", "LRP"), strict=True):
    ax.set_ylabel(name)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
plt.show()

# %%
# ``xai-fast jobs view explained`` shows all of them in a browser, with filters.
