"""Structs of Thrift's compact protocol."""

import pytest

from ecjax.thrift import Short, number, read_struct, struct, structs


def test_a_struct_with_a_field_of_every_kind():
    # 1: true; 2: false; 3: byte 255; 4: 0
    data = bytes([0x11, 0x12, 0x13, 255, 0x15, 0])
    data += bytes([0x16, 0xAC, 0x02])  # 5: zigzag varint 150
    data += bytes([0x18, 2]) + b"ab"  # 6: bytes
    data += bytes([0x19, 0x25, 2, 3])  # 7: a list of the numbers 1 and -2
    data += bytes([0x1C, 0x15, 6, 0])  # 8: a struct whose field 1 is 3
    data += bytes([0x17]) + bytes(8)  # 9: a double
    data += bytes([0x05, 0x50, 1])  # 40, by its own number: -1
    data += b"\0"
    found, length = read_struct(data + b"more")
    assert length == len(data)
    expected = {1: True, 2: False, 3: 255, 4: 0, 5: 150, 6: b"ab", 7: [1, -2], 8: {1: 3}}
    assert found == expected | {9: bytes(8), 40: -1}
    for end in range(len(data)):
        with pytest.raises(Short):
            read_struct(data[:end])


@pytest.mark.parametrize(
    "data",
    [
        b"\x1b\x00\x00",  # a map
        b"\x1c" * 100 + b"\0" * 100,  # structs in structs
        b"\x19" + b"\x19" * 5000,  # lists in lists
        b"\x15" + b"\xff" * 20,  # a number without an end
        b"\x19\xf5\xff\xff\xff\xff\x0f",  # a list of 2**32 numbers
    ],
)
def test_what_is_no_struct(data):
    with pytest.raises(ValueError):
        read_struct(data)


def test_fields_of_another_type():
    fields = {1: b"x", 2: {1: 2}, 3: [{1: 2}], 4: [1]}
    assert struct(fields, 2) == {1: 2} and structs(fields, 3) == [{1: 2}]
    assert number(fields, 9, 0) == 0
    for read, field in ((number, 1), (number, 9), (struct, 3), (structs, 2), (structs, 4)):
        with pytest.raises(ValueError, match=f"field {field} holds no"):
            read(fields, field)
