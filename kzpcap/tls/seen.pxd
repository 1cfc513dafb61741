# C types for seen.py (Cython's augmenting .pxd): the .py file alone is the whole program.
cdef class Handshake:
    cdef readonly str transport
    cdef readonly long long client_direction
    cdef public tuple client_hellos, server_hellos, chains, client_chains, alternative_chains, tickets, alerts, server_conflicts
    cdef public object key_exchange, certificate_status, certificate_verify, client_cipher_change, server_cipher_change
    cdef public object client_key_exchange, client_data, server_data, client_encrypted_size, upgrade, malformed, plain_answer
    cdef public object finished_ok, finished_seen, quic
    cdef public str history, keys, chain_problem
    cdef public long long client_data_bytes, server_flight, strays
    cdef public bint lost, cut, full, client_full, client_conflict
