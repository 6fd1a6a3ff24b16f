"""Config files as people write, copy and damage them."""

import pytest

from stseg.config import setup_cfg


@pytest.fixture
def write(tmp_path):
    def write(content, name="run.yaml"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "content, says",
    [
        ("", "got an empty file"),
        ("# nothing\n", "got an empty file"),
        ("hello", "got str 'hello'"),
        ("3.5", "got float"),
        ("- SEED: 1\n- SEED: 2", "got list"),
        ("SEED: [1", "while parsing"),
        ("SEED: !!python/object/apply:os.getcwd []", "constructor"),
        ("SEED: " + "[" * 1500, "nested too deep"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\xff", "no text at all"),
        ("SEED: 1\n".encode("utf-16"), "UTF-16"),
        ("# 注释\nSEED: 1\n".encode("gbk"), "GBK"),
    ],
)
def test_what_is_no_mapping_is_named(write, content, says):
    with pytest.raises(ValueError, match=rf"run\.yaml: expected .*{says}"):
        setup_cfg(write(content))


@pytest.mark.parametrize("chain", [("run",), ("a", "run"), ("a", "b", "a")])
def test_a_base_that_comes_back_is_named(write, chain):
    for name, base in zip(("run", *chain), chain, strict=False):
        path = write(f"_BASE_: {base}.yaml\n", f"{name}.yaml")
    with pytest.raises(ValueError, match=r"expected _BASE_ to come to an end, got a circle: .*->"):
        setup_cfg(path.with_name("run.yaml"))


@pytest.mark.parametrize("base", ["", "3", "[]\nSEED: 1", "{a: b}", "[run2.yaml, '']"])
def test_a_base_is_the_name_of_a_file_or_several(write, base):
    write("SEED: 4\n", "run2.yaml")
    if base.startswith("[]"):
        assert setup_cfg(write(f"_BASE_: {base}\n")).SEED == 1
        return
    with pytest.raises(ValueError, match=r"run\.yaml: expected the name of a file"):
        setup_cfg(write(f"_BASE_: {base}\n"))


def test_later_bases_win_and_the_file_over_them(write):
    write("SEED: 1\nSOLVER: {MAX_ITER: 7, LOG_PERIOD: 3}\n", "one.yaml")
    write("SOLVER: {MAX_ITER: 8}\n", "two.yaml")
    cfg = setup_cfg(write("_BASE_: [one.yaml, two.yaml]\nSOLVER:\n  LOG_PERIOD: 9\n"))
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.LOG_PERIOD) == (1, 8, 9)


@pytest.mark.parametrize(
    "text, key",
    [
        ("SEED: 1\nSEED: 2\n", "SEED in line 1 and in line 2"),
        ("SOLVER:\n  MAX_ITER: 1\nSEED: 3\nSOLVER:\n  BASE_LR: 1\n", "SOLVER in line 1 and .* 4"),
        ("SOLVER:\n  EMA: {DECAY: 0.1, DECAY: 0.2}\n", "SOLVER.EMA.DECAY in line 2"),
    ],
)
def test_a_key_that_stands_twice_is_named_with_its_lines(write, text, key):
    with pytest.raises(ValueError, match=f"run.yaml: expected every key once, got {key}"):
        setup_cfg(write(text))


@pytest.mark.parametrize(
    "text, says",
    [
        ("SOLVER:\n  BASE_LR:\n", "SOLVER.BASE_LR: expected float such as .* got no value"),
        ("MODEL:\n  WEIGHTS:\n", "MODEL.WEIGHTS: expected str .* got no value"),
        ("SOLVER:\n", "SOLVER: expected keys below it, such as SOLVER.LR.* got no value"),
        ("SOLVER: 3\n", "SOLVER: expected keys below it.* got 3"),
        ("SOLVER: {BASE_LR: {}}\nSEED: x\n", "SEED: expected int"),
    ],
)
def test_a_blank_value_is_named_with_its_file(write, text, says):
    with pytest.raises(ValueError, match=rf"{says}.*run\.yaml"):
        setup_cfg(write(text))


def test_a_blank_value_on_the_command_line_is_refused_too():
    with pytest.raises(ValueError, match=r"SOLVER.BASE_LR: expected float"):
        setup_cfg(opts=["SOLVER.BASE_LR", "None"])


def test_nothing_is_suggested_where_nothing_is_near():
    with pytest.raises(KeyError) as caught:
        setup_cfg(opts=["QQQQ.ZZZ", "3"])
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(FileNotFoundError) as missing:
        setup_cfg("qqqqqqqqqqqqq")
    assert "Did you mean" not in str(missing.value)
