/* This file contains the maps of connected sockets: which service each believes to be its peer. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

/* What a connected socket believes to be connected to, and what it is connected to. */
struct sock_service {
	struct address service;
	struct address backend;
	__be16 service_port;
	__be16 backend_port;
};

/* Of UDP sockets, and of TCP sockets that have no place in tb_tcp_service; goes away with the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct sock_service);
} tb_sock_service SEC(".maps");

/* Places for TCP sockets, 48 bytes each: a node has a few thousand connections to services as a rule. */
#define TCP_SERVICES 65536

struct tcp_service {
	__u64 cookie; /* of the socket that has the place; 0: none */
	struct sock_service known;
	struct bpf_spin_lock lock; /* held while the place is taken */
};

/* Of TCP sockets: storage of a socket costs more than all else that is done when it connects (docs/adr/0004). A socket may
 * have one place, by its cookie. Cookies are counted up, so that a place is wanted again only after as many sockets as there are
 * places. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TCP_SERVICES);
	__type(key, __u32);
	__type(value, struct tcp_service);
} tb_tcp_service SEC(".maps");
