# The C form of pieces.py, compiled into the modules that cimport it.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.string cimport memcmp, memcpy

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define kzpcap_prefetch(address) __builtin_prefetch(address)
    #else
    #define kzpcap_prefetch(address) ((void)(address))
    #endif
    """
    void kzpcap_prefetch(const void* address) noexcept

cdef inline void ahead(const unsigned char[::1] data, long long at) noexcept:
    if 0 <= at < data.shape[0] - 64:
        kzpcap_prefetch(&data[at])
        kzpcap_prefetch(&data[at + 64])

cdef inline const unsigned char* _whole(const unsigned char[::1] data, long long at, long long size) except NULL:
    """Where `size` bytes lie; one check for all of them, after which the compiler makes one load."""
    if not 0 <= at <= data.shape[0] - size:
        raise IndexError(at)
    return &data[at]

cdef inline long long be16(const unsigned char[::1] data, long long at) except -1:
    cdef const unsigned char* here = _whole(data, at, 2)
    return here[0] << 8 | here[1]

cdef inline long long be32(const unsigned char[::1] data, long long at) except -1:
    cdef const unsigned char* here = _whole(data, at, 4)
    return <unsigned int>here[0] << 24 | here[1] << 16 | here[2] << 8 | here[3]

cdef inline long long le16(const unsigned char[::1] data, long long at) except -1:
    cdef const unsigned char* here = _whole(data, at, 2)
    return here[1] << 8 | here[0]

cdef inline long long le32(const unsigned char[::1] data, long long at) except -1:
    cdef const unsigned char* here = _whole(data, at, 4)
    return <unsigned int>here[3] << 24 | here[2] << 16 | here[1] << 8 | here[0]

cdef inline long long u16(const unsigned char[::1] data, long long at, bint big) except -1:
    return be16(data, at) if big else le16(data, at)

cdef inline long long u32(const unsigned char[::1] data, long long at, bint big) except -1:
    return be32(data, at) if big else le32(data, at)

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
    # Eight bytes at a time as they lie, for 65,536 is 1 here; with the bytes of words swapped, the sum is 256 times it.
    cdef long long left = _length(data, at, stop)
    cdef unsigned long long total = 0, two
    cdef unsigned int word = 1
    cdef bint swapped = (<unsigned char*>&word)[0]
    cdef const unsigned char* here = &data[at] if left else NULL
    while left >= 8:
        memcpy(&two, here, 8)
        total += (two & 0xFFFFFFFFU) + (two >> 32)
        here += 8
        left -= 8
    if left >= 4:
        memcpy(&word, here, 4)
        total += word
        here += 4
        left -= 4
    if left:
        word = 0
        memcpy(&word, here, left)
        total += word
    return total % 0xFFFF * (256 if swapped else 1) % 0xFFFF
