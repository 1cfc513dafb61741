# The C form of pieces.py, compiled into the modules that cimport it.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy

cdef inline long long _length(const unsigned char[::1] data, long long at, long long stop) noexcept:
    """How many bytes a piece has."""
    if stop > data.shape[0]:
        stop = data.shape[0]
    return stop - at if 0 <= at < stop else 0

cdef inline bytes piece(const unsigned char[::1] data, long long at, long long stop):
    cdef long long length = _length(data, at, stop)
    return PyBytes_FromStringAndSize(<const char*>&data[at], length) if length else b""

cdef inline bytes joined(const unsigned char[::1] data, long long at, long long stop, long long other, long long end):
    cdef long long first = _length(data, at, stop), second = _length(data, other, end)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, first + second)
    if first:
        memcpy(PyBytes_AS_STRING(made), &data[at], first)
    if second:
        memcpy(PyBytes_AS_STRING(made) + first, &data[other], second)
    return made

cdef inline bint same(
    const unsigned char[::1] data, long long at, long long stop, long long other, long long end, bytes key
) noexcept:
    cdef long long first = _length(data, at, stop), second = _length(data, other, end)
    cdef const char* wanted = PyBytes_AS_STRING(key)
    if PyBytes_GET_SIZE(key) != first + second:
        return False
    if first and memcmp(&data[at], wanted, first):
        return False
    return not second or not memcmp(&data[other], wanted + first, second)

cdef inline long long modulo(const unsigned char[::1] data, long long at, long long stop) noexcept:
    # Four bytes at a time as they lie, for 65,536 is 1 here; with the bytes of words swapped, the sum is 256 times it.
    cdef long long left = _length(data, at, stop)
    cdef unsigned long long total = 0
    cdef unsigned int word = 1
    cdef bint swapped = (<unsigned char*>&word)[0]
    cdef const unsigned char* here = &data[at] if left else NULL
    while left >= 4:
        memcpy(&word, here, 4)
        total += word
        here += 4
        left -= 4
    if left:
        word = 0
        memcpy(&word, here, left)
        total += word
    return total % 0xFFFF * (256 if swapped else 1) % 0xFFFF
