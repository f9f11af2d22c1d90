"""The option checker names weights, images, LMDBs and folders that do not fit."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils.registry import ARCH_REGISTRY
from check_recipes import esrgan, find_problems, psnr, put, swinir_on_lmdb, write_images, write_lmdb

from ext_core.errors import UserError
from ext_core.options import check


# ---------------------------------------------------------------------- weights
def test_refusal_of_a_constructor_is_heard(data):
    (problem,) = find_problems(put('network_d:input_size', 64, lambda: put('datasets:train:gt_size', 64, esrgan)), True)
    assert problem == 'network_d: VGGStyleDiscriminator: input size must be 128 or 256, but received 64'


def saved_weights(**arguments) -> dict:
    from basicsr.archs.srresnet_arch import MSRResNet

    return MSRResNet(**{'num_feat': 8, 'num_block': 1, 'upscale': 4} | arguments).state_dict()


@pytest.mark.parametrize(
    'content',
    [
        lambda weights: {'params': weights},
        lambda weights: weights,
        lambda weights: {'params': {f'module.{name}': value for name, value in weights.items()}},
    ],
)
def test_fitting_weights_have_no_problem(data, content):
    torch.save(content(saved_weights()), 'net.pth')
    assert find_problems(put('path:pretrain_network_g', 'net.pth'), is_train=True) == []


def test_a_test_of_random_weights_is_refused(data):
    def testing(**network) -> list[str]:
        opt = psnr() | network | {'is_train': False}
        opt['datasets'] = {'test': opt['datasets']['val'] | {'phase': 'test'}}
        return find_problems(opt, is_train=False)

    (problem,) = testing()
    for words in ('path:pretrain_network_g is missing', 'MSRResNet would be tested with random weights', '.pth'):
        assert words in problem
    assert testing(network_g={'type': 'WithoutWeights'}) == []


@ARCH_REGISTRY.register()
class WithoutWeights(torch.nn.Module):
    """A network with nothing to load."""


def test_weights_for_another_network(data):
    torch.save({'params': saved_weights(num_feat=16, num_block=2)}, 'net.pth')
    (problem,) = find_problems(put('path:pretrain_network_g', 'net.pth'), is_train=True)
    for words in (
        'net.pth holds weights for another network than this MSRResNet',
        'unknown to the network',
        'conv_first.weight (16, 3, 3, 3) instead of (8, 3, 3, 3)',
        'path:strict_load_g: false',
    ):
        assert words in problem
    opt = put('path:pretrain_network_g', 'net.pth')
    opt['path']['strict_load_g'] = False
    assert find_problems(opt, is_train=True) == []


def test_unreadable_weights(data):
    Path('net.pth').write_bytes(b'PK garbage')
    (problem,) = find_problems(put('path:pretrain_network_g', 'net.pth'), is_train=True)
    assert 'net.pth cannot be read' in problem


# ---------------------------------------------------------------------- files
def one(data, words, make=psnr):
    problems = [p for p in find_problems(make(), is_train=True) if p.startswith(('datasets:train', 'datasets:val:'))]
    assert problems
    assert all(word in problems[0] for word in words), problems
    return problems


def test_images_without_partner_are_named(data):
    (data / 'lq' / 'b.png').unlink()
    write_images(data / 'lq', 16, ['zz'])
    one(data, ['datasets:train: the pairs do not match', '4 images in gt, 4 in lq', 'partner: b.png', 'truth: zz.png'])


def test_names_with_an_addition_suggest_the_template(data):
    shutil.rmtree(data / 'lq')
    write_images(data / 'lq', 16, ['ax4', 'bx4', 'cx4', 'dx4'])
    one(data, ["Set filename_tmpl: '{}x4'"])
    opt = psnr()
    for data_opt in opt['datasets'].values():
        data_opt['filename_tmpl'] = '{}x4'
    assert find_problems(opt, is_train=True) == []


def test_the_template_is_found_and_taken_for_lmdbs_too(data):
    """Keys as BasicSR's make_lmdb_from_imgs writes them; 1 is in 10x4 too."""
    names = [str(number) for number in range(12)]
    write_lmdb(data / 'gt.lmdb', 64, names)
    write_lmdb(data / 'lq.lmdb', 16, [f'{name}x4' for name in names])
    opt = put('datasets:train:dataroot_gt', 'gt.lmdb')
    train = opt['datasets']['train'] | {'dataroot_lq': 'lq.lmdb', 'io_backend': {'type': 'lmdb'}}
    opt['datasets']['train'] = train
    (problem,) = find_problems(opt, is_train=True)
    assert problem.endswith("Set filename_tmpl: '{}x4'.")
    train['filename_tmpl'] = '{}x4'
    assert find_problems(opt, is_train=True) == []
    assert not any('filename_tmpl' in warning for warning in check.find_warnings(opt))
    dataset = build_dataset(train)
    assert [(pair['gt_path'], pair['lq_path']) for pair in dataset.paths] == [(n, f'{n}x4') for n in sorted(names)]
    sample = dataset[3]
    assert (sample['gt'].shape[-1], sample['lq'].shape[-1], sample['lq_path']) == (32, 8, '11x4')


def test_two_images_that_would_be_one_picture(data):
    for folder, size in (('gt', 64), ('lq', 16)):
        write_images(data / folder, size, ['a'], suffix='.bmp')
    assert find_problems(psnr(), is_train=True) == []
    problems = find_problems(put('val:save_img', True), is_train=True)
    assert problems == [
        f'datasets:{phase}: a.bmp and a.png would be saved as one picture (val:save_img). Rename one of them.'
        for phase in ('val', 'val_2')
    ]


def test_empty_folder_and_subfolders(data):
    (data / 'empty' / 'inside').mkdir(parents=True)
    (problem,) = find_problems(put('datasets:train:dataroot_lq', 'empty'), is_train=True)
    assert 'datasets:train:dataroot_lq: no images in empty' in problem
    assert 'empty/inside' in problem


def test_foreign_files_are_named(data):
    (data / 'gt' / 'Thumbs.db').write_text('x')
    one(data, ['Thumbs.db in gt: not image files', 'Move them away'])


def test_size_of_one_pair(data):
    write_images(data / 'lq', 16, ['c'], width=17)
    problems = one(data, ['c.png is 64 x 64', 'lq/c.png, 17 x 16', '1 of the 4 pairs'])
    assert len(problems) == 2  # in training, and in validation, where BasicSR would crop silently


def test_validation_accepts_ground_truth_that_is_no_multiple(data):
    (data / 'val').mkdir()
    write_images(data / 'val', 66, width=67)
    assert find_problems(put('datasets:val:dataroot_gt', 'val'), is_train=True) == []
    assert any('datasets:train' in p for p in find_problems(put('datasets:train:dataroot_gt', 'val'), is_train=True))


def test_exif_rotation_is_applied(data):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    for folder, size, extra in (('gt', (64, 128), {}), ('lq', (32, 16), {'exif': exif})):
        shutil.rmtree(data / folder)
        (data / folder).mkdir()
        for name in 'abcd':
            Image.new('RGB', size).save(data / folder / f'{name}.jpg', **extra)
    assert find_problems(psnr(), is_train=True) == []


@pytest.mark.parametrize('damage', ['garbage', 'truncated', 'empty', 'flipped'])
def test_damaged_validation_image_is_found_now(data, damage):
    path = data / 'gt' / 'b.png'
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(
        {
            'garbage': b'not an image',
            'truncated': content[:middle],
            'empty': b'',
            'flipped': content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :],
        }[damage]
    )
    problems = find_problems(psnr(), is_train=True)
    assert [p.split(' cannot')[0] for p in problems] == ['datasets:val: gt/b.png', 'datasets:val_2: gt/b.png']


def test_meta_info_file_lists_what_is_read(data):
    Path('meta.txt').write_text('a.png (64,64,3)\nb.png (64,64,3)\nc.png (64,64,3)\nd.png (64,64,3)\n')
    (data / 'gt' / 'unlisted.png').write_bytes((data / 'gt' / 'a.png').read_bytes())
    opt = put('datasets:train:meta_info_file', 'meta.txt')
    assert not [p for p in find_problems(opt, is_train=True) if p.startswith('datasets:train')]
    Path('meta.txt').write_text('nope.png (64,64,3)\n')
    assert any('lists files that do not exist: gt/nope.png, lq/nope.png' in p for p in find_problems(opt, True))


@pytest.mark.parametrize(
    ('content', 'cause'),
    [
        ('\ufeffa.png (64,64,3)\r\n'.encode(), 'begins with a byte order mark'),  # as Windows' editor saves it
        (b'a.png\n\nb.png\n', 'has no name in line 2'),
        ('größe.png\n'.encode('latin-1'), 'Save it as a text file in UTF-8'),
    ],
)
def test_meta_info_file_of_other_editors(data, content, cause):
    Path('meta.txt').write_bytes(content)
    problems = find_problems(put('datasets:train:meta_info_file', 'meta.txt'), is_train=True)
    assert [p for p in problems if cause in p and 'datasets:train:meta_info_file' in p]


def test_paths_of_windows(data):
    problems = find_problems(put('datasets:train:dataroot_gt', 'data\\train\\gt'), is_train=True)
    assert [p for p in problems if 'Its back slashes are those of Windows' in p]


# ---------------------------------------------------------------------- LMDB
def broken_lmdb(breaking, name='lq.lmdb'):
    opt = swinir_on_lmdb()
    breaking(Path(name))
    problems = find_problems(opt, is_train=True)
    assert len(problems) == 1, problems
    return problems[0]


def test_lmdb_without_its_files(data):
    assert 'lq.lmdb has no meta_info.txt' in broken_lmdb(lambda root: (root / 'meta_info.txt').unlink())


def test_lmdb_without_database(data):
    assert 'lq.lmdb has no data.mdb' in broken_lmdb(lambda root: (root / 'data.mdb').unlink())


def test_lmdb_truncated(data):
    def truncate(root):
        content = (root / 'data.mdb').read_bytes()
        (root / 'data.mdb').write_bytes(content[: len(content) - 8192])

    assert 'gt.lmdb is truncated' in broken_lmdb(truncate, 'gt.lmdb')


def test_lmdb_of_garbage(data):
    assert 'lq.lmdb cannot be opened' in broken_lmdb(lambda root: (root / 'data.mdb').write_bytes(b'x' * 16384))


def test_lmdb_without_a_listed_image(data):
    def add(root):
        with (root / 'meta_info.txt').open('a') as meta:
            meta.write('z.png (16,16,3) 1\n')

    assert 'lacks 1 of the images' in broken_lmdb(add)


def test_lmdb_with_other_keys(data):
    def rewrite(root):
        shutil.rmtree(root)
        write_lmdb(root, 16, 'abc')

    assert 'without a low-quality partner: d' in broken_lmdb(rewrite)


def test_lmdb_of_another_scale(data):
    def rewrite(root):
        shutil.rmtree(root)
        write_lmdb(root, 32)

    assert 'Their ratio is 2 throughout: set scale: 2' in broken_lmdb(rewrite)


def test_lmdb_given_as_folder(data):
    opt = swinir_on_lmdb()
    opt['datasets']['train']['io_backend'] = {'type': 'disk'}
    problems = find_problems(opt, is_train=True)
    assert len(problems) == 2
    assert all('is an LMDB. Set io_backend:type: lmdb' in problem for problem in problems)


# ---------------------------------------------------------------------- places
def test_file_in_the_way_of_the_results(data):
    (data / 'experiments').write_text('x')
    (problem,) = find_problems(psnr(), is_train=True)
    assert f'{data}/experiments is a file' in problem


@pytest.mark.parametrize('is_train', [True, False])
def test_two_sets_of_one_name(data, is_train):
    opt = put('datasets:val_2:name', 'Set5')
    assert not any('is the name of' in text for text in find_problems(opt, is_train=True)), 'the same set twice'
    opt['datasets']['val_2']['dataroot_gt'] = './gt'
    if not is_train:
        opt['datasets']['test_1'] = opt['datasets'].pop('val')
        del opt['datasets']['train']
    (problem,) = [text for text in find_problems(opt, is_train=is_train) if 'name' in text and 'Set5' in text]
    first = 'val' if is_train else 'val_2'
    assert re.match(rf"datasets:(val_2|test_1):name: 'Set5' is the name of datasets:{first} too, .*of its own", problem)
    opt = put('datasets:train:name', 'Set5')  # of the training set nothing is kept by name
    assert not any('is the name of' in text for text in find_problems(opt, is_train=True))


@pytest.mark.parametrize('name', ['experiments', 'tb_logger', 'experiments/001_MSRResNet_x4'])
def test_a_link_to_nothing_where_results_go_is_named(data, name):
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).symlink_to('disk')
    (problem,) = find_problems(psnr(), is_train=True)
    assert problem == f'{data / name} is a link to disk, which is not there. Make that folder, or remove the link.'
    Path(name).resolve().mkdir()
    assert find_problems(psnr(), is_train=True) == []


# ---------------------------------------------------------------------- several folders
@pytest.fixture
def two_folders(data):
    """``two_folders(**keys of datasets:train)``: the second has subfolders, and LR files with another ending."""
    for folder, size, suffix in (('gt2', 64, '.png'), ('lq2', 16, '.bmp')):
        (data / folder).mkdir()
        write_images(data / folder / 'deep', size, 'abcdef', suffix=suffix)

    def options(**keys) -> dict:
        opt = put('datasets:train:type', 'ExtPairedImageDataset')
        roots = {'dataroot_gt': ['gt', 'gt2'], 'dataroot_lq': ['lq', 'lq2'], 'subfolders': True}
        opt['datasets']['train'] = {k: v for k, v in opt['datasets']['train'].items() if k != 'use_shuffle'}
        opt['datasets']['train'] |= roots | keys
        return opt

    return options


def test_every_folder_is_looked_at(data, two_folders):
    assert find_problems(two_folders(dataroot_weights=[3, 1]), is_train=True) == []
    (data / 'lq2' / 'deep' / 'e.bmp').unlink()
    assert len(one(data, ['6 images in gt2, 5 in lq2', 'partner: deep/e.png'], two_folders)) == 1
    write_images(data / 'lq2' / 'deep', 12, 'e', suffix='.bmp')
    one(data, ['gt2/deep/e.png is 64 x 64', 'lq2/deep/e.bmp, 12 x 12'], two_folders)
    write_images(data / 'lq2' / 'deep', 16, 'e')
    one(data, ['dataroot_lq: in lq2', 'e.bmp and deep/e.png differ in their endings only'], two_folders)


def test_weights_and_numbers_of_folders_are_checked(two_folders):
    def said(**keys) -> str:
        with pytest.raises(UserError) as caught:
            check.check_options(two_folders(**keys), is_train=True)
        return str(caught.value)

    assert 'must have a number above 0 for each of 2 folders, but is [1, 0]' in said(dataroot_weights=[1, 0])
    assert 'must have a number above 0 for each of 2 folders, but is [1]' in said(dataroot_weights=[1])
    assert 'dataroot_lq names 1 folders and dataroot_gt 2' in said(dataroot_lq=['lq'])
    assert 'dataroot_gt: folder not found: nowhere' in said(dataroot_gt=['gt', 'nowhere'])


def test_pictures_of_several_folders_keep_apart(data, two_folders):
    opt = put('val:save_img', True, two_folders)
    opt['datasets']['val'] = opt['datasets']['train'] | {'phase': 'val', 'name': 'two'}
    for key in ('gt_size', 'use_hflip', 'use_rot', 'num_worker_per_gpu', 'batch_size_per_gpu', 'dataset_enlarge_ratio'):
        del opt['datasets']['val'][key]
    (problem,) = find_problems(opt, is_train=True)
    assert problem.startswith('datasets:val: a.png and deep/a.bmp would be saved as one picture')


def test_high_resolution_images_of_several_folders(data, two_folders):
    keys = {'type': 'HRImageDataset', 'dataroot_weights': [1, 2]}
    opt = two_folders(**keys) | {'model_type': 'ExtSRModel', 'degrade': {'type': 'Bicubic'}}
    for key in ('dataroot_lq', 'filename_tmpl'):
        del opt['datasets']['train'][key]
    assert find_problems(opt, is_train=True) == []
    (data / 'gt2' / 'deep' / 'notes.txt').write_text('x')
    opt['datasets']['train']['max_bad_samples'] = 0
    (problem,) = find_problems(opt, is_train=True)
    assert 'notes.txt: it is not an image' in problem
