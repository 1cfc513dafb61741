# C types for container.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, pieces

cdef class Interface:
    cdef public long long link_type, snaplen, exponent, offset_seconds
    cdef public bint binary
    cdef public bytes name

cdef class Records:
    cdef public object raw, notes
    cdef const unsigned char[::1] data
    cdef readonly Py_ssize_t size, pos, offset
    cdef readonly bint big, swap_lengths, truncated, searched
    cdef readonly long long tick, header, frame, captured, original, time_ns, before_ns, link_type
    cdef readonly long long skipped_bytes, sections, snaplen, secret_bytes, comments, private_blocks
    cdef readonly list interfaces, secrets
    cdef readonly int format

    cdef int _open(self) except -1
    cpdef object shorten(self, Py_ssize_t size)
    cpdef bint advance(self) except -1
    @cython.locals(left="long long", seconds="long long", fraction="long long", captured="long long", original="long long", start="long long", found="long long", strange=bint)
    cdef bint _next_pcap(self) except -1
    cdef void _pcap_header(self, Py_ssize_t at) except *
    @cython.locals(usual="long long", size="long long")
    cdef long long _record_header(self) except -1
    @cython.locals(count="long long", captured="long long")
    cdef long long _row(self, Py_ssize_t at) except -1
    cdef bint _another_pcap(self) except -1
    cdef bint _next_snoop(self) except -1
    @cython.locals(seconds="long long", captured="long long", original="long long", ticks="long long")
    cdef bint _plausible_pcap(self, Py_ssize_t at, long long reference) except -1
    @cython.locals(reference="long long", other="long long", stop="long long", at="long long", follow="long long", captured="long long")
    cdef Py_ssize_t _find_pcap(self) except -2
    @cython.locals(last="long long")
    cdef bint _is_lost(self, long long follow, long long seconds) except -1
    @cython.locals(captured="long long", original="long long", apart="long long", odd="long long")
    cdef long long _odd(self, long long at, long long reference) except -1
    @cython.locals(start="long long", found="long long")
    cdef bint _resynchronise_pcap(self, str why) except -1
    @cython.locals(left="long long", kind="long long", length="long long", start="long long")
    cdef bint _next_block(self) except -1
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
    @cython.locals(start="long long", found="long long")
    cdef bint _resynchronise_block(self, str why, bint tail) except -1
