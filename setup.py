import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'__version__ = "(.+)"', (ROOT / "stseg" / "__init__.py").read_text(encoding="utf-8")
)[1]

# Detectron2 itself is not on the package registry under its name: dev/install_detectron2.sh gets
# it, and what it needs is listed here.
DETECTRON2_NEEDS = [
    "black",
    "cloudpickle",
    "fvcore>=0.1.5",
    "hydra-core>=1.1",
    "iopath>=0.1.7",
    "matplotlib",
    "omegaconf>=2.1,<2.4",
    "packaging",
    "pycocotools>=2.0.2",
    "tabulate",
    "tensorboard",
    "termcolor>=1.1",
    "tqdm>4.29.0",
    "yacs>=0.1.8",
]

setup(
    name="stseg",
    version=VERSION,
    description="Open-vocabulary semantic segmentation for Detectron2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["stseg", "stseg.*"]),
    package_data={"stseg": ["assets/**/*", "**/*.json", "**/*.pyi", "py.typed"]},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.0",
        "torchvision",
        "open_clip_torch>=2.27",
        "segment-anything",
        "numpy>=1.26",
        "opencv-python-headless",
        "pillow",
        "safetensors",
        "filelock",
        "jinja2>=3.1",
        "timm",
        "scipy",  # reads the .mat files of PASCAL-Context
        *DETECTRON2_NEEDS,
    ],
    extras_require={"dev": ["hypothesis", "mypy", "pylint", "pytest", "ruff", "scikit-learn"]},
)
