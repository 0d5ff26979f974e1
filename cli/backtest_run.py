"""Runs a backtest: on what the platform decided, or on a history."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from cli.backtest_report import Backtest
from ibook.backtest import Compared, Rules, compare
from ibook.backtest_money import savings
from ibook.costs import Costs
from ibook.edges.backtest import Kinds, LeftOut, archived, kinds_in_log, newest_decision, of_history
from ibook.errors import ConfigurationError
from ibook.policy_releases import deciding, policy_of
from ibook.rules import VerdictPolicy, load_policy

if TYPE_CHECKING:
    from ibook.edges.fraud_model import FraudModel
    from ibook.settings import Settings

HOURS, PURCHASES = 72.0, 12_000
END = "2026-01-05T00:00:00+00:00"
"""Of the history that is simulated: the same for everyone, every day."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What is tried, and on how much of the past."""

    policy: VerdictPolicy | None
    """None: the one that decides now."""
    model: "FraudModel | None"
    age: timedelta
    currency: str
    """Empty: the first purchase's."""
    seed: int

    def on_log(self, data_dir: Path | None) -> Backtest:
        """On the platform's own past. Raises ConfigurationError or BrokerUnavailable."""
        from cli.kept import kept_data
        from ibook.edges.archive import archive_of, archive_to_the_end

        with kept_data(data_dir) as reached:
            if not reached.live:
                archive_to_the_end(reached.settings)
            archive = archive_of(reached.settings)
            until = newest_decision(archive)
            since = until - self.age
            kinds, left_out = kinds_in_log(reached.settings, since), LeftOut(currency=self.currency)
            policy = self.policy or policy_in_force(reached.settings)
            rules = Rules(policy, self.model, reached.settings.seed)
            compared = compare(archived(archive, since, until, left_out), rules, kinds)
            source = f"the archive in {reached.settings.data_dir}"
        return self._told(policy, compared, kinds, left_out, before="What was decided then", source=source)

    def on_history(self, folder: Path, current: VerdictPolicy, settings: "Settings") -> Backtest:
        """On a history, as the present policy and the store's newest model decide it. Raises ConfigurationError."""
        from training.history import read_history

        present = newest_model(settings) or self.model
        now = Rules(current, present, settings.seed)
        left_out = LeftOut(currency=self.currency)
        pasts, kinds = of_history(read_history(folder), now, self.age, left_out)
        tried = self.model if self.model is not present else None
        policy = self.policy or current
        compared = compare(pasts, Rules(policy, tried, settings.seed), kinds)
        before = _names(current, present) if present else f"{_names(current, None)} by rules alone, without any model"
        return self._told(policy, compared, kinds, left_out, before=before, source=f"the history in {folder}")

    def _told(
        self, policy: VerdictPolicy, compared: Compared, kinds: Kinds, left_out: LeftOut, *, before: str, source: str
    ) -> Backtest:
        if not compared.n:
            raise ConfigurationError("There is nothing to compare in that time: choose an older --since.")
        costs = policy.costs or Costs()
        return Backtest(
            before=before, after=_names(policy, self.model), source=source, compared=compared,
            savings=savings(compared.moved, costs, seed=self.seed), costs=costs, currency=left_out.currency,
            left_out=dict(left_out.counts), delays_days=kinds.delays_days,
        )  # fmt: skip


def _names(policy: VerdictPolicy, model: "FraudModel | None") -> str:
    return f"Policy {policy.version}" + (f" with model {model.version}" if model else "")


def policy_in_force(settings: "Settings") -> VerdictPolicy:
    """The released policy that decides; the packaged one when none does. Raises BrokerUnavailable."""
    from ibook.edges.policy_log import read_releases

    release = deciding(read_releases(settings))
    return load_policy() if release is None else policy_of(release)


def model_of(path: Path) -> "FraudModel":
    """The model of a file or a folder. Raises ModelUnavailable."""
    from ibook.edges.fraud_model import METADATA_FILE, MODEL_FILE, ModelMetadata, load_model, read_json

    file = path / MODEL_FILE if path.is_dir() else path
    return load_model(file, read_json(file.with_name(METADATA_FILE), ModelMetadata).sha256)


def newest_model(settings: "Settings") -> "FraudModel | None":
    """The model that was written into the store last, if it fits these features."""
    from ibook.errors import ModelUnavailable

    folder = settings.data_dir / "models" / settings.model_name
    for version in sorted(folder.glob("[!.]*/"), key=lambda each: each.stat().st_mtime, reverse=True):
        try:
            return model_of(version)
        except ModelUnavailable:
            continue
    return None


@contextmanager
def simulated_history(seed: int) -> Iterator[Path]:
    """A history of three days. Raises ConfigurationError."""
    from training.history import simulated

    with TemporaryDirectory(prefix="ibook-backtest-") as name:
        with simulated(Path(name), hours=HOURS, purchases=PURCHASES, seed=seed, end=END):
            pass
        yield Path(name)
