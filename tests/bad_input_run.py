"""A tiny training run to be spoilt, launched in this process, and asked what it said and left behind."""

import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from ext_core import launch

NAMES = [f'img{i}' for i in range(4)]
TIMEOUT = 60  # seconds, for any one run
RECIPE = """
name: run
model_type: SRModel
scale: 4
num_gpu: 0
manual_seed: 0
datasets:
  train: {name: train, type: PairedImageDataset, dataroot_gt: gt, dataroot_lq: lq, io_backend: {type: disk},
          gt_size: 32, use_hflip: true, use_rot: true, num_worker_per_gpu: 0, batch_size_per_gpu: 2,
          dataset_enlarge_ratio: 2}
network_g: {type: MSRResNet, num_feat: 8, num_block: 1, upscale: 4}
path: {pretrain_network_g: ~, resume_state: ~}
train:
  optim_g: {type: Adam, lr: 0.0001}
  scheduler: {type: MultiStepLR, milestones: [2], gamma: 0.5}
  total_iter: 4
  pixel_opt: {type: L1Loss}
logger: {print_freq: 1, save_checkpoint_freq: 2, use_tb_logger: false}
"""


def png(size: int, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 255, (size, size, 3), np.uint8)
    return cv2.imencode('.png', noise)[1].tobytes()


class Run:
    """A tiny recipe in a folder of its own, to be spoilt and launched; and what the launch did."""

    def __init__(self, root: Path, capfd: pytest.CaptureFixture):
        self.root = root
        self.capfd = capfd
        for folder, size in (('gt', 64), ('lq', 16)):
            (root / folder).mkdir()
            for seed, name in enumerate(NAMES):
                (root / folder / f'{name}.png').write_bytes(png(size, seed))
        self.opt: dict = yaml.safe_load(RECIPE)
        earlier = root / 'experiments' / 'run' / 'models'
        earlier.mkdir(parents=True)
        (earlier / 'net_g_latest.pth').write_bytes(b'results of last week')

    def put(self, path: str, value: object) -> None:
        *above, last = path.split(':')
        place = self.opt
        for key in above:
            place = place[key]
        place[last] = value

    def experiments(self) -> list[tuple[str, bytes]]:
        files = (path for path in self.root.rglob('*') if path.is_file() and 'experiments' in path.parts)
        return sorted((str(path), path.read_bytes()) for path in files)

    def launch(self, *extra: str, text: str | None = None) -> tuple[int, str]:
        """Train in this process.

        Returns:
            tuple[int, str]: Exit status; all that was printed.
        """
        (self.root / 'opt.yml').write_text(yaml.safe_dump(self.opt) if text is None else text)
        self.capfd.readouterr()
        started = time.monotonic()
        status = launch.train(self.root, ['-opt', 'opt.yml', *extra])
        assert time.monotonic() - started < TIMEOUT
        captured = self.capfd.readouterr()
        return status, captured.out + captured.err

    def refused(self, *said: str, text: str | None = None) -> str:
        """Assert that the launch ends with this message before anything is touched."""
        before = self.experiments()
        status, printed = self.launch(text=text)
        assert status == 1, printed
        assert 'Traceback' not in printed
        message = printed[printed.index('error: ') :]
        for words in said:
            assert words in message, message
        assert self.experiments() == before
        assert sorted(path.name for path in (self.root / 'experiments').iterdir()) == ['run']
        return message

    def stopped(self, *said: str) -> str:
        """Assert that the training starts and then ends with this message; nothing earlier is lost."""
        status, printed = self.launch()
        assert status == 1, printed
        assert 'Traceback' not in printed
        message = printed[printed.index('error: ') :]
        for words in said:
            assert words in message, message
        archived = list((self.root / 'experiments').glob('run_archived_*/models/net_g_latest.pth'))
        assert [path.read_bytes() for path in archived] == [b'results of last week']
        return message


@pytest.fixture
def run(tmp_path, monkeypatch, capfd, fresh_logger):
    monkeypatch.chdir(tmp_path)
    return Run(tmp_path, capfd)
