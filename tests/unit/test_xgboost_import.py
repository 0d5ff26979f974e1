"""A process that scores imports XGBoost alone, and can still have the rest later."""

import subprocess
import sys


def run_python(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_xgboost_comes_without_what_it_does_not_need_and_scores() -> None:
    run_python("""
import sys
from ibook.edges.xgboost_import import import_xgboost
import_xgboost()
import numpy as np, xgboost
assert not {"sklearn", "pandas"} & set(sys.modules)
rows = np.arange(60, dtype=np.float32).reshape(20, 3)
booster = xgboost.train({"max_depth": 2}, xgboost.DMatrix(rows, rows[:, 0]), 3)
assert booster.inplace_predict(rows).shape == (20,)
import sklearn.metrics
assert sklearn.metrics.f1_score([1], [1]) == 1
""")


def test_a_process_that_has_scikit_learn_keeps_it() -> None:
    run_python("""
import sklearn.base
from ibook.edges.xgboost_import import import_xgboost
import_xgboost()
import xgboost
assert issubclass(xgboost.XGBClassifier, sklearn.base.BaseEstimator)
""")
