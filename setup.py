"""Metadata and extras. BasicSR itself is no dependency here, since pip alone cannot build it: ext_core/install_basicsr.py."""

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
    python_requires='>=3.10',
    packages=find_packages(include=['ext_*', 'ext_*.*']),
    package_data={'ext_core.use': ['*.html', '*.css', '*.js']},
    install_requires=[
        'torch',
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
        'optimizers': _OPTIMIZERS,
        'export': _EXPORT,
        'docs': _DOCS,
        'dev': [*_METRICS, *_OPTIMIZERS, *_EXPORT, *_DOCS, 'hypothesis', 'jsonschema', 'ruff', 'mypy', 'pytest', 'pytest-xdist'],
    },
)
