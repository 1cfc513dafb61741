# The C form of pieces.py, compiled into the modules that cimport it.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

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
