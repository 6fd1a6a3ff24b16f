"""Small pictures with captions, in shards, tables and folders."""

import io
import tarfile

from PIL import Image


def picture(number):
    """The bytes of a picture of 16 x 16 pixels, all of them (number, 0, 0)."""
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def sample(number, **members):
    """Members of a sample by what stands behind the dot: a picture and a caption, or others."""
    return f"{number:09d}", members or {"jpg": picture(number), "txt": f"number {number}".encode()}


def write_shard(path, samples, form=tarfile.GNU_FORMAT):
    """A tar of samples, (key, {ending: content}) each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for key, members in samples:
            for ending, content in members.items():
                member = tarfile.TarInfo(f"{key}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def write_shards(folder, sizes=(7, 5, 8), broken=()):
    """Shards as img2dataset writes them; samples are numbered through, some have half a picture."""
    number = 0
    for shard, size in enumerate(sizes):
        samples = []
        for _ in range(size):
            content = picture(number)
            half = content[: len(content) // 2] if number in broken else content
            words = {"txt": f"number {number}".encode(), "json": b'{"caption": "another"}'}
            samples.append(sample(number, jpg=half, **words))
            number += 1
        write_shard(folder / f"{shard:05d}.tar", samples)
    return folder
