# C types for records.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cdef class Interface:
    cdef public long long link_type, snaplen, exponent, offset_seconds
    cdef public bint binary
    cdef public bytes name

cdef class Records:
    cdef public object raw, notes
    cdef const unsigned char[::1] data
    cdef readonly Py_ssize_t size, pos, offset
    cdef readonly bint big, truncated, filtered
    cdef readonly long long frame, captured, original, time_ns, link_type
    cdef readonly long long skipped_bytes, comments, private_blocks
    cdef readonly list interfaces, secrets

    cpdef bint advance(self) except -1
    cpdef object shorten(self, Py_ssize_t size)
    cdef bint _resume(self, Py_ssize_t found, str what, str why) except -1
