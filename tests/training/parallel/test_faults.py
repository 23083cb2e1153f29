"""Trainings in two processes that are ended in every way, on files on disk."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import psutil
import pytest
import spacy
from spacy.cli.init_config import init_config
from spacy.tokens import DocBin
from spacy_frameworks.training.corpus import create_corpus
from spacy_frameworks.training.parallel.checkpoint import NAME as CHECKPOINT

from . import faults

# Seconds until all processes have ended.
PATIENCE = 30
KILLS = int(os.environ.get("KILLS", "20"))
SETTINGS = {
    "paths.train": "train.spacy",
    "paths.dev": "dev.spacy",
    "training.max_steps": 16,
    "training.eval_frequency": 4,
    "training.dropout": 0.3,
    "training.batcher": {"@batchers": "spacy.batch_by_sequence.v1", "size": 4},
    "training.before_update": {"@callbacks": "test.fault.v1"},
    "components.tok2vec.model.embed.rows": [50] * 4,
}
