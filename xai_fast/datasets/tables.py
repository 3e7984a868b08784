"""Real tables to look for interactions in, from packages that carry them; none of them is copied here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xai_fast.datasets.photos import installed_folder
from xai_fast.errors import InputError, needs

if TYPE_CHECKING:
    import pandas

__all__ = ["RealTable", "bikeshare", "diabetes"]


@dataclass(frozen=True, eq=False)
class RealTable:
    """A table with its target, its columns of categories, whatever their type, and those that no prediction may use."""

    name: str
    frame: pandas.DataFrame
    target: str
    categorical: tuple[str, ...]
    ignore: tuple[str, ...]
    about: str


def bikeshare() -> RealTable:
    """Return the hourly rentals of bicycles in Washington, D.C., in 2011: 8,645 hours.

    Source: Fanaee-T and Gama, "Event labeling combining ensemble detectors and background knowledge", Progress in
    Artificial Intelligence 2, 2014 (UCI repository), in the form of James et al., "An Introduction to Statistical
    Learning", 2nd edition. The file is in the package ISLP, which is looked up without being imported, so that it can
    be installed with ``--no-deps``; an `InputError` says that it, or pandas, is not.

    ``bikers`` is predicted. ``casual`` and ``registered`` add up to it, and are ignored. The hour is a number in the
    file, but as in the book it is read as a category, since rentals rise and fall twice a day, and so are the month and
    the weather, which are words. The weekday stays a number from 0 (Sunday): as a category it would say whether a day
    is a working day, and share that column's interactions with it.
    """
    pandas = needs("pandas", "a table", "'xai-fast[table]'")
    file = installed_folder("ISLP", "--no-deps ISLP") / "data" / "Bikeshare.csv"
    if not file.is_file():
        raise InputError("bikeshare: the installed package ISLP has no data/Bikeshare.csv; pip install --no-deps ISLP")
    return RealTable(
        name="Bikeshare",
        frame=pandas.read_csv(file),
        target="bikers",
        categorical=("mnth", "hr", "weathersit"),
        ignore=("casual", "registered"),
        about="Rented bicycles in Washington, D.C., hour by hour in 2011.",
    )


def diabetes() -> RealTable:
    """Return scikit-learn's table of 442 patients: the progression of diabetes a year after ten measurements.

    Source: Efron et al., "Least angle regression", Annals of Statistics 32, 2004. No model explains much more than half
    of the variance of its target. ``sex`` is a category. An `InputError` names a package that is not installed.
    """
    needs("pandas", "a table", "'xai-fast[table]'")
    installed_folder("sklearn", "scikit-learn")
    from sklearn.datasets import load_diabetes

    loaded = load_diabetes(as_frame=True, scaled=False)
    return RealTable(
        name="diabetes",
        frame=loaded.frame,
        target="target",
        categorical=("sex",),
        ignore=(),
        about="Progression of diabetes in 442 patients, a year after ten measurements.",
    )
