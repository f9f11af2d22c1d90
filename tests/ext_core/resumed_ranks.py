"""Three ranks train, and train again from their third step on: exit status 0 where both end the same to the last bit.

DistributedDataParallel fills its buckets anew in the second iteration after a start, see
``ext_core.compat.distribution``; the network is large enough for the ranks' sums to depend on that.
"""

import copy
import os
import socket
from types import SimpleNamespace

import torch
from torch import nn

from ext_core.registration import register_all

STEPS = 3


def steps(wrapped: nn.Module, optimizer: torch.optim.Optimizer, rank: int, first: int) -> None:
    for iteration in range(first, first + STEPS):
        images = torch.randn(4, 200, generator=torch.Generator().manual_seed(10 * iteration + rank))
        optimizer.zero_grad()
        wrapped(images).square().mean().backward()
        optimizer.step()


def build() -> tuple[nn.Module, torch.optim.Optimizer]:
    from basicsr.models.base_model import BaseModel

    torch.manual_seed(0)
    net = nn.Sequential(*(nn.Sequential(nn.Linear(200, 200), nn.Tanh()) for _ in range(6)))
    model = SimpleNamespace(opt={'dist': True, 'num_gpu': 0}, device=torch.device('cpu'))
    return BaseModel.model_to_device(model, net), torch.optim.Adam(net.parameters())


def train(rank: int, port: int) -> bool:
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', f'tcp://127.0.0.1:{port}', rank=rank, world_size=3)
    one, optimizer = build()
    steps(one, optimizer, rank, first=0)
    other, resumed = build()
    other.load_state_dict(one.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))  # else both work on the same averages
    for wrapped, its_optimizer in ((one, optimizer), (other, resumed)):
        steps(wrapped, its_optimizer, rank, first=STEPS)
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


if __name__ == '__main__':
    register_all()
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        free_port = probe.getsockname()[1]
    children = []
    for number in range(3):
        child = os.fork()
        if child == 0:
            same = False
            try:
                same = train(number, free_port)
            finally:
                os._exit(0 if same else 1)
        children.append(child)
    raise SystemExit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
