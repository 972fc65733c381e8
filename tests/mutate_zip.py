"""PyTorch's checkpoints: zip archives of a pickle and of its tensors, changed in each of them."""

from __future__ import annotations

import io
import random
import zipfile

from mutations import ANY, TEXTS, Mutation, number, put

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
# Where numbers are in a record, and of how many bytes.
_FIELDS = {
    _LOCAL: ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    _CENTRAL: (
        (6, 2), (8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (42, 4),
    ),
    _END: ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}  # fmt: skip
# Each would leave a folder `unpickled` if it were run.
HARMFUL = (
    b"cos\nmkdir\n(S'unpickled'\ntR.",
    b"\x80\x02cos\nmkdir\nq\x00X\x09\x00\x00\x00unpickledq\x01\x85q\x02Rq\x03.",
    b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c\x09unpickled\x85R.",
    b"\x80\x02(i__main__\nmkdir\n.",
    b"\x80\x02cbuiltins\neval\nX\x1f\x00\x00\x00__import__('os').mkdir('unpick')\x85R.",
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(cos\nmkdir\nX\x09\x00\x00\x00unpickled\x85RtR.",
)


def members(content: bytes) -> dict[str, bytes]:
    """What a valid archive holds."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive(held: dict[str, bytes]) -> bytes:
    """An archive with checksums that fit."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as new:
        for name, data in held.items():
            new.writestr(zipfile.ZipInfo(name), data)
    return out.getvalue()


def covered(content: bytes) -> list[tuple[int, int]]:
    """The bytes that checksums of a valid archive are over."""
    found = []
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for info in archive.infolist():
            head = content[info.header_offset :][:30]
            lengths = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
            start = info.header_offset + 30 + sum(lengths)
            found.append((start, start + info.compress_size))
    return found


def record(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """One or two numbers of the archive's directory, its end, or before a member."""
    kind = draw.choice(list(_FIELDS))
    places = [j for j in range(len(content)) if content.startswith(kind, j)]
    for _ in range(draw.choice((1, 1, 2))):
        offset, size = draw.choice(_FIELDS[kind])
        place = draw.choice(places) + offset
        content = put(content, place, size, number(draw, content[place : place + size]))
    return content


def pickle(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """The pickle that says which tensors there are."""
    held = members(content)
    name = next(name for name in held if name.endswith("data.pkl"))
    held[name] = draw.choice((*ANY.values(),))(held[name], other, draw)
    return archive(held)


def harmful(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """A pickle that does something, alone, before or after the one that was there."""
    held = members(content)
    name = next(name for name in held if name.endswith("data.pkl"))
    harm = draw.choice(HARMFUL)
    held[name] = draw.choice((harm, harm[:-1] + b"0" + held[name], held[name][:-1] + b"0" + harm))
    return draw.choice((archive(held), archive(held), harm))


def member(content: bytes, other: bytes, draw: random.Random) -> bytes:
    """Another member's content or name, one more or one less."""
    held = members(content)
    name = draw.choice(list(held))
    data = held.pop(name)
    how = draw.randrange(4)
    if how == 0:
        held[name] = draw.choice((*ANY.values(),))(data, other, draw)
    elif how == 1:
        held[draw.choice(("../x", "/x", "x" * 200, *TEXTS[2:9], name + "/"))] = data
    elif how == 2:
        held[name] = draw.choice(list(held.values()) or [b""])
    return archive(held)


MUTATIONS: dict[str, Mutation] = {
    "record": record,
    "pickle": pickle,
    "harmful pickle": harmful,
    "member": member,
}
MENDING = ("pickle", "harmful pickle", "member")
