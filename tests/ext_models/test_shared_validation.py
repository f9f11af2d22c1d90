"""A validation that two processes share gives the figures and pictures of one, bit for bit."""

import shutil
from pathlib import Path

import pytest
import shared_validation_ranks
import torch
from torch.utils.data import DataLoader
from two_processes import run_on_two


@pytest.fixture(scope='module')
def shared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('shared')
    run_on_two(shared_validation_ranks, folder)
    return folder


def pictures(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*.png')}


@pytest.mark.parametrize('scenario', list(shared_validation_ranks.scenarios()))
def test_figures_and_pictures_are_those_of_one_process(shared, tmp_path, scenario):
    alone = shared_validation_ranks.validate(scenario, tmp_path)
    first, second = (torch.load(shared / f'{rank}.pth', weights_only=True)[scenario] for rank in (0, 1))
    assert first == alone  # repr() of floats is exact
    assert (first['metric_results'] == 'None') == (scenario == 'without metrics')
    assert second == {'metric_results': 'None', 'best_metric_results': 'None', 'scalars': {}}
    saved = pictures(tmp_path / scenario)
    assert len(saved) == len(shared_validation_ranks.scenarios()[scenario][1])
    assert pictures(shared / scenario) == saved


@pytest.mark.parametrize('model_type', ['SRModel', 'ExtSRModel', 'DegradationModel'])
def test_images_of_one_name_in_two_sets_have_a_picture_each(tmp_path, model_type):
    scenario = {'SRModel': 'BasicSR', 'ExtSRModel': 'without metrics', 'DegradationModel': 'degradation'}[model_type]
    opt, dataset = shared_validation_ranks.scenarios()[scenario]
    opt['path']['visualization'] = str(tmp_path)
    model = shared_validation_ranks.build(opt)
    images = range(len(dataset))
    for sections, folders in (({'val': 'photos'}, ['']), ({'val': 'a', 'val_2': 'b'}, ['a/', 'b/'])):
        model.opt['datasets'] = {key: {'name': name} for key, name in sections.items()}
        for name in sections.values():
            dataset.opt = {'name': name}
            model.validation(DataLoader(dataset), 7, None, save_img=True)
        expected = {f'{folder}{i}/{i}_7.png' for folder in folders for i in images}
        assert set(pictures(tmp_path)) == expected
        shutil.rmtree(tmp_path)
    assert model.opt['path']['visualization'] == str(tmp_path)
