"""Reads metrics from standard input as Prometheus' own client does, and writes every sample as JSON.

usage: metrics.py text|openmetrics
"""

import json
import sys

from prometheus_client import parser
from prometheus_client.openmetrics import parser as open_parser

parsers = {
    "text": parser.text_string_to_metric_families,
    "openmetrics": open_parser.text_string_to_metric_families,
}
families = parsers[sys.argv[1]](sys.stdin.read())
samples = [
    {"family": family.name, "type": family.type, "name": sample.name, "labels": sample.labels, "value": sample.value}
    for family in families
    for sample in family.samples
]
json.dump(samples, sys.stdout)
