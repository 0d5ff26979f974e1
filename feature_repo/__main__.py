"""`python -m feature_repo`: register the definitions where the settings say, unless they are already.

Writes `<data_dir>/feature_store.yaml` too, for `FeatureStore(fs_yaml_file=…)`.
"""

import sys
import warnings
from pathlib import Path

from ibook.edges.feast_apply import apply_feature_repo, mark_applied
from ibook.edges.feast_config import yaml_path
from ibook.errors import ConfigurationError
from ibook.settings import Settings, load_settings


def register(settings: Settings) -> None:
    """What `feast apply` does, with our configuration. Imports Feast (seconds) and changes the working directory."""
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    folder = Path(__file__).parent
    config = load_repo_config(folder, yaml_path(settings))
    sys.path.append(str(folder))  # Feast imports definitions.py by its bare name
    warnings.filterwarnings("ignore", message="On demand feature view is an experimental feature")
    apply_total(config, folder, skip_source_validation=False)
    mark_applied(settings)


def main(arguments: list[str]) -> int:
    """Exit code of the command; `--now` registers in this process, whatever the registry holds."""
    try:
        settings = load_settings()
        if "--now" in arguments:
            register(settings)
        else:
            done = "now holds the definitions" if apply_feature_repo(settings) else "is up to date"
            print(f"The registry {done}; {yaml_path(settings)} reads from it.")
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
