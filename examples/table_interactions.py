"""
A table: which columns act together?
====================================

A table in a CSV file, a number to predict, and the question which columns have a joint
effect that none has by itself. `xai_fast.TNID` finds pairs, triples and larger sets by
the mixed derivatives of a smooth network that `xai_fast.fit_mlp` trains.

Needs ``pip install 'xai-fast[table]'``. From the command line, ``xai-fast t-nid
houses.csv --target price`` does all of this, with a report.
"""

# %%
# A table
# -------
# Any CSV file will do. This one is made up, so that the answer is known: the price has
# a product of area and location, and one of garden, sun and quiet; age counts by
# itself, and colour not at all.

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from xai_fast import TNID, fit_mlp

draw = np.random.default_rng(0)
columns = ["area", "location", "garden", "sun", "quiet", "age", "colour"]
houses = pd.DataFrame(draw.normal(size=(2000, 7)), columns=columns)
houses["price"] = (
    houses.area * houses.location
    + houses.garden * houses.sun * houses.quiet
    - houses.age
)
file = Path(tempfile.mkdtemp()) / "houses.csv"
houses.to_csv(file, index=False)

# %%
# A network for the table
# -----------------------
# Interactions of a network that does not fit say nothing about the table, so look at
# its score first: R² on rows that were held back, or the accuracy where the target is a
# class.

table = pd.read_csv(file)
fitted = fit_mlp(table.drop(columns="price"), table["price"], epochs=40, progress=False)
print(f"R² on rows held back: {fitted.validation_score:.3f}")

# %%
# The ranking
# -----------
# The effect of a set is the mixed derivative by its columns, each in standard
# deviations; here its median magnitude over 100 rows.

method = TNID(
    fitted.model, order=3, representatives=100, effect="absolute", aggregate="median"
)
ranking = method.detect(table.drop(columns="price"))
for found in ranking.top(3):
    print(f"{' x '.join(found.features):24} {found.effect:.3f}")
print(f"colour x location: {ranking['colour', 'location'].effect:.3f}")

strongest = ranking.top(8, mixed=True)[::-1]
names = [" x ".join(one.features) for one in strongest]
figure, (bars, pairs) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
bars.barh(names, [one.effect for one in strongest])
pairs.imshow(ranking.pair_matrix())
pairs.set_xticks(range(7), columns, rotation=90)
pairs.set_yticks(range(7), columns)
plt.show()

# %%
# The two sets that the price was made of lead. Next come the pairs within the triple:
# how garden and sun act together depends on the quiet. All others are near zero.
