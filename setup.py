"""Metadata and extras. BasicSR is built without isolation (see the Makefile), so it is pinned here by version only."""

from setuptools import find_packages, setup

_METRICS = ['lpips', 'scikit-image']
_OPTIMIZERS = ['pytorch_optimizer']
_EXPORT = ['onnx', 'onnxruntime', 'spandrel']
_DOCS = ['furo', 'myst-parser', 'sphinx']

setup(
    name='basicsr-ext',
    version='0.1.0',
    description='Super-resolution for real photographs: mask-aided, domain-adaptation and energy GANs for BasicSR',
    license='Apache-2.0',
    python_requires='>=3.10, <3.13',
    packages=find_packages(include=['ext_*', 'ext_*.*']),
    package_data={'ext_core.use': ['*.html', '*.css', '*.js']},
    install_requires=[
        'basicsr==1.4.2',
        'torch',
        'mmengine',
        'opencv-python>=4.11',
        'lmdb',
        'pyyaml',
        'jinja2',
        'safetensors',
        'pytest',
    ],
    extras_require={
        'metrics': _METRICS,
        'optimizers': _OPTIMIZERS,
        'export': _EXPORT,
        'docs': _DOCS,
        'dev': [*_METRICS, *_OPTIMIZERS, *_EXPORT, *_DOCS, 'hypothesis', 'jsonschema', 'ruff', 'mypy', 'pytest-xdist'],
    },
)
