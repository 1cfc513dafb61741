# The C form of codes.py, for the modules that cimport it.
cdef enum:
    CHANGE_CIPHER_SPEC = 20, ALERT, HANDSHAKE, APPLICATION_DATA, HEARTBEAT
    MAX_RECORD = 18432
    MAX_MESSAGE = 262144
    MAX_MESSAGES = 256
    MAX_ALERTS = 64
    MAX_ORDER = 1024
    MAX_ENCRYPTED = 8192
