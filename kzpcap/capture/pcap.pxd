# C types for pcap.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, pieces
from kzpcap.capture.records cimport Records

cdef class Pcap(Records):
    cdef readonly bint searched, swapped, unordered
    cdef readonly long long tick, header, before_ns

    @cython.locals(left="long long", seconds="long long", fraction="long long", captured="long long", original="long long", start="long long", found="long long", strange=bint)
    cpdef bint advance(self) except -1
    cdef void _file_header(self, Py_ssize_t at) except *
    cdef void _record_header(self) except *
    @cython.locals(captured="long long", other="long long")
    cdef long long _captured(self, Py_ssize_t at) except -1
    @cython.locals(original="long long", other="long long")
    cdef long long _original(self, Py_ssize_t at) except -1
    cdef bint _another(self) except -1
    @cython.locals(count="long long", captured="long long")
    cdef long long _row(self, Py_ssize_t at) except -1
    @cython.locals(last="long long")
    cdef bint _is_lost(self, long long follow, long long seconds) except -1
    @cython.locals(captured="long long", original="long long", apart="long long", odd="long long")
    cdef long long _odd(self, long long at, long long reference) except -1
    @cython.locals(seconds="long long", captured="long long")
    cdef bint _plausible(self, Py_ssize_t at, long long reference) except -1
    @cython.locals(reference="long long", other="long long", stop="long long", at="long long", follow="long long", captured="long long")
    cdef Py_ssize_t _find(self) except -2
