"""`python -m training`: from labelled history to the model that decides."""

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from ibook.errors import IbookError
from ibook.settings import load_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 2 with one sentence when it can't be done."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except IbookError as error:
        print(f"training: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    first = commands.add_parser(
        "bootstrap", help="train the first model on a simulated history",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    first.add_argument("--seed", type=int, default=1, help="of the simulated world and of the training")
    first.add_argument("--purchases", type=int, default=40_000, help="in the simulated history, about")
    first.add_argument("--hours", type=float, default=72.0, help="length of the simulated history")
    first.add_argument("--history", type=Path, help="folder of an existing history, instead of a simulated one")
    first.add_argument("--out", type=Path, help="model store to write to, instead of the platform's")
    first.add_argument("--release", action=argparse.BooleanOptionalAction, default=True, help="let it decide")
    first.set_defaults(run=_bootstrap)
    again = commands.add_parser("release", help="let a version in the model store decide; an older one rolls back")
    again.add_argument("version")
    again.add_argument("--why", default="released by hand")
    again.set_defaults(run=_release)
    return parser


def _bootstrap(options: argparse.Namespace) -> int:
    from training.bootstrap import Plan, bootstrap

    gc.disable()  # some hundred thousand live objects and no cycles: looking for garbage takes a third of the time
    plan = Plan(
        seed=options.seed, purchases=options.purchases, hours=options.hours, history=options.history,
        models_dir=options.out, release=options.release,
    )  # fmt: skip
    bootstrap(load_settings(), plan)
    return 0


def _release(options: argparse.Namespace) -> int:
    from training.release import release

    released = release(load_settings(), options.version, why=options.why)
    print(f"{released.model} {released.version} decides from now on")
    return 0


if __name__ == "__main__":
    sys.exit(main())
