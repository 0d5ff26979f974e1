"""The alert rules speak of metrics and pages that exist."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from ibook import metrics

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "infra" / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))


def labels_of_metrics() -> dict[str, set[str]]:
    """Every series name that our metrics give, with its labels."""
    found = (each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase))
    return {name: set(each._labelnames) for each in found for name in (each._name, f"{each._name}_total")}


@each_rule
def test_the_metrics_and_labels_of_a_rule_exist(rule: dict[str, Any]) -> None:
    known = labels_of_metrics()
    named = re.findall(r"\b(ibook_\w+)(?:\{([^}]*)\})?", rule["expr"])
    assert named
    for name, matchers in named:
        by = re.findall(r"by \(([^)]*)\)", rule["expr"])
        wanted = {*re.findall(r"(\w+)[=!]~?", matchers), *re.findall(r"\w+", " ".join(by))}
        assert wanted <= known[name], name


@each_rule
def test_a_rule_says_what_is_wrong_and_where_to_read_on(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= set(
        re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", rule["expr"])))
    )


def test_a_process_that_does_not_look_gives_no_number_of_waiting_purchases() -> None:
    code = "import ibook.metrics, prometheus_client; print(prometheus_client.generate_latest())"
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    assert "ibook_fraud_unanswered_purchases NaN" in told.stdout
