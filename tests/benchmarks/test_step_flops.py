import json

from benchmarks import step_flops
from stseg.modeling.text.encoder import CLIPTextEncoder
from tests.engine import fakes


def test_the_operations_of_a_step_are_counted_by_part(tmp_path, monkeypatch, capsys, clean_catalog):
    monkeypatch.setattr(CLIPTextEncoder, "encode_prompts", CLIPTextEncoder.encode_prompts)
    entry = fakes.make_data(tmp_path / "train")
    config = tmp_path / "config.yaml"
    config.write_text("VERSION: 2\n")
    opts = [str(opt) for opt in fakes.make_opts(entry, tmp_path / "run")]
    report = tmp_path / "report.json"
    step_flops.main(["--config-file", str(config), "--json", str(report), *opts])
    parts = json.loads(report.read_text())["tflop"]
    assert 0 < parts["Global"] < 1
    assert "TFLOP" in capsys.readouterr().out
