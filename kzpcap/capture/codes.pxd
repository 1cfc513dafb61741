# The C form of codes.py, for the modules that cimport it.
cdef enum:
    DAY = 86400
    MAX_CAPTURED = 262144
    SNOOP_HEADER = 24, SNOOP_PADDING = 64
    OK = 0, NOT_IP, UNKNOWN_LINK, SHORT, MALFORMED, FRAGMENT, OTHER_IP, ENCRYPTED, NESTED, EMPTY, IP
    KEEP = 0, LEAVE, GIVE_UP
    MAX_DEPTH = 12
    ICMP = 1, TCP = 6, UDP = 17, ICMPV6 = 58
    FIN = 1, SYN = 2, RST = 4, PSH = 8, ACK = 16
    ENDS = 7
    CHANGES = 1, PROTECTS = 2, OLDER = 4, HELLO = 8
