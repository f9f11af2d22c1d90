"""A project whose training and evaluation are short scripts."""

from pathlib import Path
from types import ModuleType

import pytest

from studies import study as runs_of


def fake_project(folder: Path, monkeypatch: pytest.MonkeyPatch, study: ModuleType, train: str, evaluation: str) -> None:
    """Let a study's script train with the code ``train`` and evaluate with ``evaluation``, in ``folder``."""
    (folder / 'basicsr').mkdir()
    (folder / 'basicsr' / 'train.py').write_text(train)
    (folder / 'fake_evaluation.py').write_text(evaluation)
    monkeypatch.setattr(study, 'ROOT', folder)
    monkeypatch.setattr(runs_of, 'EVALUATION', folder / 'fake_evaluation.py')
    monkeypatch.setenv('PYTHONPATH', str(folder))
