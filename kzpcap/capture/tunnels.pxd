# C types for tunnels.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cimport cython
from kzpcap.capture cimport codes, links, packet, pieces
from kzpcap.capture.packet cimport Packet

cdef bint is_port(long long sport, long long dport) except -1
@cython.locals(skip="long long")
cdef long long in_udp(Packet p, const unsigned char[::1] data, long long sport, long long dport, long long at, long long end, long long missing) except -1
@cython.locals(kind="long long")
cdef long long tzsp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(flags="long long", following="long long")
cdef long long gtp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(words="long long", native="long long")
cdef long long capwap(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(flags="long long")
cdef long long l2tp(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
@cython.locals(flags="long long", kind="long long")
cdef long long gre(Packet p, const unsigned char[::1] data, long long at, long long end, long long missing) except -1
