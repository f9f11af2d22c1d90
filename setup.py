"""Metadata and extras. BasicSR is no dependency here: pip alone cannot build it (ext_core/install_basicsr.py can)."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

_METRICS = ['lpips', 'scikit-image']
_IQA = ['pyiqa']  # an extra of its own: it brings some fifty packages, among them transformers and a second OpenCV
_OPTIMIZERS = ['pytorch_optimizer']
_EXPORT = ['onnx', 'onnxruntime', 'spandrel']
_DOCS = ['furo', 'myst-parser', 'sphinx']
_TESTS = ['hypothesis', 'jsonschema', 'pytest', 'pytest-xdist']


class BuildWithFiles(build_py):
    """Also puts what lies beside the packages into the wheel, where ``ext_core.project`` finds it."""

    def run(self) -> None:
        super().run()
        shipped = Path(self.build_lib) / 'ext_core' / 'shipped'
        if not self.editable_mode:
            for folder in ('options', 'generators', 'scripts'):
                unwanted = shutil.ignore_patterns('__pycache__', '*.sh', 'export_schema.py', 'export_reference.py')
                shutil.copytree(folder, shipped / folder, ignore=unwanted, dirs_exist_ok=True)


setup(
    name='basicsr-ext',
    version='0.1.0',
    description='Super-resolution for real photographs: mask-aided, domain-adaptation and energy GANs for BasicSR',
    long_description=Path(__file__).with_name('README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['ext_*', 'ext_*.*']),
    package_data={'ext_core': ['basicsr_build/*.py'], 'ext_core.use': ['*.html', '*.css', '*.js']},
    cmdclass={'build_py': BuildWithFiles},
    entry_points={'console_scripts': ['basicsr-ext = ext_core.__main__:main']},
    install_requires=[
        'torch',
        'torchvision',
        'mmengine',
        'opencv-python>=4.11',
        'lmdb',
        'pyyaml',
        'jinja2',
        'safetensors',
        'setuptools>=70.1',
    ],
    extras_require={
        'metrics': _METRICS,
        'iqa': _IQA,
        'optimizers': _OPTIMIZERS,
        'export': _EXPORT,
        'docs': _DOCS,
        'dev': [*_METRICS, *_OPTIMIZERS, *_EXPORT, *_DOCS, *_TESTS, 'mypy', 'ruff'],
    },
)
