"""The prediction command in a workspace, see the fixture of that name."""

from stseg.tools.prediction import prediction_command as main

CONFIG = """
MODEL: {META_ARCHITECTURE: ColourTestNet, WEIGHTS: random, DEVICE: cpu}
INPUT: {MIN_SIZE_TEST: 0}
"""


def run(workspace, *inputs, vocabulary="red; blue", more=()):
    paths = [str(workspace / "photos" / text) for text in inputs]
    return main(
        ["--config-file", str(workspace / "tiny.yaml"), "--output", str(workspace / "out")]
        + ["--vocabulary", vocabulary, *more, "--input", *paths]
    )


def outputs(workspace):
    return sorted(p.name for p in (workspace / "out").glob("[!.]*"))
