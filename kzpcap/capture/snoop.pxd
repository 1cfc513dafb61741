# C types for snoop.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, pieces
from kzpcap.capture.records cimport Records

cdef class Snoop(Records):
    cdef readonly bint searched

    @cython.locals(left="long long", last="long long", original="long long", captured="long long", length="long long", start="long long", found="long long")
    cpdef bint advance(self) except -1
    @cython.locals(captured="long long", length="long long")
    cdef long long _follows(self, Py_ssize_t at, long long last) except -2
    @cython.locals(last="long long", at="long long", follow="long long")
    cdef Py_ssize_t _find(self) except -2
