"""What every fuzz test asks: an answer or an error that explains itself, soon, and no file lost."""

import random
import signal
import zlib
from contextlib import contextmanager

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from stseg.utils import explanation

#: Seconds that one input may take.
PATIENCE = 20


def seeded(examples):
    """The same inputs at every run."""
    return settings(
        max_examples=examples,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


class Hang(BaseException):
    """An input took too long."""


@contextmanager
def soon():
    """Nothing inside hangs."""

    def stop(*_):
        raise Hang(f"not done after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def answer(function, *args, **kwargs):
    """What a function says of an input: its value, or None where it refuses it in words of ours."""
    with soon():
        try:
            return function(*args, **kwargs)
        except (ValueError, OSError, KeyError, TypeError, FloatingPointError) as error:
            assert is_ours(error), repr(error)
            return None


def is_ours(error):
    """Whether an error says what was expected."""
    text = str(error.args[-1]) if error.args else ""
    return bool(explanation(error)) or ": expected " in text


def mutated(content, seed):
    """Bytes with some flipped, cut, doubled or replaced; how is told by the seed."""
    rng, data = random.Random(seed), bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(6):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.randbytes(rng.randrange(1, 40))
            case 3:
                del data[at : at + rng.randrange(1, 200)]
            case 4:
                data[at : at + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
            case _:
                data += data[at : at + 100]
    return bytes(data)


def mended_png(content):
    """The checksums of a PNG's chunks made right, so that damage reaches what lies behind them."""
    found, at = content[:8], 8
    while at + 12 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunk = content[at + 4 : at + 8 + size]
        if size > len(content):
            break
        found += content[at : at + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        at += 12 + size
    return found + content[at:]


seeds = st.integers(0, 2**32 - 1)
#: Text as people paste it: separators of all kinds, hidden characters, other alphabets.
words = st.text(
    st.one_of(
        st.sampled_from(list(",;|/\n\r\t\"'[]{}().:#=\\-_ \u3000\uff0c\uff1b\u200b\u2028\ufeff\0")),
        st.characters(codec="utf-8"),
        st.sampled_from(list("catdogskywal")),
    ),
    max_size=60,
)
