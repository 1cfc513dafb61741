# C types for links.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, packet, pieces
from kzpcap.capture.packet cimport Packet

@cython.locals(family="long long", skip="long long")
cdef long long link(Packet p, const unsigned char[::1] data, long long link_type, long long at, long long end, long long missing) except -1
@cython.locals(kind="long long")
cdef long long ethernet(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
cdef long long cooked(Packet p, const unsigned char[::1] data, long long kind, long long hardware, long long at, long long end, long long missing) except -1
cdef long long llc(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(skip="long long")
cdef long long ethertype(Packet p, const unsigned char[::1] data, long long kind, long long at, long long end, long long missing) except -1
@cython.locals(kind="long long")
cdef long long nsh(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(bottom="long long", nibble="long long")
cdef long long mpls(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
cdef long long pppoe(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(kind="long long")
cdef long long ppp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
cdef long long frame_relay(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(skip="long long", field="long long", present="long long", words="long long", padded="long long")
cdef long long radiotap(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(control="long long", flags="long long", header="long long", aggregate="long long")
cdef long long wifi(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing, bint padded) except -1
@cython.locals(stop="long long", follow="long long")
cdef long long subframe(Packet p, const unsigned char[::1] data, long long at, long long end) except -1
@cython.locals(length="long long")
cdef long long nflog(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
