"""Import XGBoost without scikit-learn, for processes that score: it takes a third of the time."""

import sys


def import_xgboost() -> None:
    """Import XGBoost; call it before the first import of anything of XGBoost's.

    Where scikit-learn can be imported XGBoost imports it, and with it pandas and much of SciPy, to offer an interface
    in its style, which nobody here uses: a second of processor that a worker just killed does not have. XGBoost does
    without where it is not installed, which is what it is told. Nothing changes for a process that has either already.
    """
    hidden = "sklearn" not in sys.modules and "xgboost" not in sys.modules
    if hidden:
        sys.modules["sklearn"] = None  # type: ignore[assignment]  # makes importing it fail
    try:
        import xgboost  # noqa: F401
    finally:
        if hidden:
            sys.modules.pop("sklearn", None)
