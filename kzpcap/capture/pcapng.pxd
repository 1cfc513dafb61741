# C types for pcapng.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, pieces
from kzpcap.capture.records cimport Interface, Records

cdef class Pcapng(Records):
    cdef readonly long long sections, secret_bytes

    @cython.locals(left="long long", kind="long long", length="long long", start="long long")
    cpdef bint advance(self) except -1
    @cython.locals(captured="long long", original="long long", options="long long")
    cdef bint _is_cut(self, long long kind, long long length, long long left) except -1
    @cython.locals(code="long long", length="long long")
    cdef bint _options_run_out(self, Py_ssize_t at) except -1
    @cython.locals(limit="long long", body="long long", index="long long", original="long long", captured="long long", ticks_high="long long", ticks_low="long long", options="long long", interface=Interface)
    cdef bint _packet(self, long long kind, long long start, long long length) except -1
    @cython.locals(ticks="unsigned long long", seconds="long long", ns="long long")
    cdef long long _time(self, Interface interface, unsigned long long high, unsigned long long low) except -1
    cdef bint _lies(self, Py_ssize_t start, Py_ssize_t length) except -1
    @cython.locals(at="long long", kind="long long", length="long long")
    cdef Py_ssize_t _find_block(self, Py_ssize_t start, Py_ssize_t stop) except -2
    @cython.locals(found="long long")
    cdef bint _resynchronise(self, str why, bint tail) except -1
