# C types for flow.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, limits, pieces
from kzpcap.capture.packet cimport Packet

cdef class Side:
    cdef readonly long long packets, bytes
    cdef readonly int kept, kept_packets, data_from
    cdef readonly bint fin, application, protected

cdef class Flow:
    cdef readonly bytes key, reverse
    cdef readonly list packets
    cdef readonly Side a, b
    cdef readonly long long protocol, first_frame, first_time, last_frame, last_time, left_from
    cdef readonly long long given_up, duplicates, cost, isn, first_ack
    cdef readonly bint reset, has_data, tls, old, two_points
    cdef readonly Flow older

    cpdef Side side(self, long long direction)
    @cython.locals(own=Side)
    cdef void count(self, Packet p) except *
    @cython.locals(own=Side, cost="long long")
    cdef long long store(self, Packet p) except -1
    @cython.locals(made=Flow, packet=Packet)
    cpdef Flow part(self, list packets)
    cdef bint is_closed(self) except -1
    cdef bint is_over(self, long long now) except -1
    cdef bint is_simultaneous(self) except -1
    @cython.locals(other=Packet, at="long long", index="long long")
    cdef bint begins_anew(self, Packet p, const unsigned char[::1] data) except -1
    @cython.locals(other=Packet, follows="long long", answered=bint)
    cdef bint began_with(self, Packet p) except -1
    @cython.locals(older=Flow, number="long long", ours="long long", theirs="long long")
    cdef Flow owner(self, Packet p)
    @cython.locals(own=Side, limit="long long", room="long long")
    cdef long long wanted(self, Packet p, const unsigned char[::1] data) except -1
    @cython.locals(head="long long", found="long long")
    cdef void _records(self, Side own, Packet p, const unsigned char[::1] data) except *
    cdef void _first_protected(self, Side own, Side other) except *
    @cython.locals(size="long long", at="long long", stop="long long", apart="long long", begins=bint, other=Packet)
    cdef bint repeats(self, Packet p, const unsigned char[::1] data) except -1
    @cython.locals(first=Packet)
    cdef bint is_copy_of_first(self, Packet p) except -1

@cython.locals(end="long long", found="long long", kind="long long", size="long long")
cdef long long records_of(const unsigned char[::1] data, long long at, long long length) except -1
@cython.locals(head="long long")
cdef bint tls_record(const unsigned char[::1] data, long long at, long long length) except -1
