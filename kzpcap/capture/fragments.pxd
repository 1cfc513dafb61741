# C types for fragments.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport limits, pieces
from kzpcap.capture.packet cimport Packet

cdef class Datagram:
    cdef public long long frame, time_ns, ttl, total, filled
    cdef public bytearray body, have
    cdef public bytes header
    cdef public set pieces

cdef class Fragments:
    cdef readonly object notes
    cdef readonly long long packets, reassembled, duplicates
    cdef readonly dict waiting, whole

    @cython.locals(size="long long", key=bytes, piece=bytes, held=Datagram, done=Datagram)
    cdef bytes add(self, Packet p, const unsigned char[::1] data)
    cdef void end(self) except *
    @cython.locals(done=Datagram)
    cdef bint _is_again(self, bytes key, object one, Packet p) except -1
    @cython.locals(held=Datagram)
    cdef Datagram _held(self, bytes key, Packet p)
    @cython.locals(end="long long", before=bytes, ours=bytes)
    cdef void _put(self, Datagram held, long long begin, bytes piece, long long frame) except *
