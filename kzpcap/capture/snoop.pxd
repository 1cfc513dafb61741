# C types for snoop.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, pieces
from kzpcap.capture.records cimport Records

cdef class Snoop(Records):
    cdef readonly bint searched
    cdef readonly long long before_ns

    @cython.locals(left="long long", last="long long", original="long long", captured="long long", length="long long", start="long long", found="long long")
    cpdef bint advance(self) except -1
    @cython.locals(captured="long long", length="long long")
    cdef long long _follows(self, Py_ssize_t at, long long last) except -2
    @cython.locals(last="long long", before="long long", at="long long")
    cdef Py_ssize_t _find(self) except -2
    @cython.locals(follow="long long")
    cdef bint _is_one(self, Py_ssize_t at, long long last) except -1
