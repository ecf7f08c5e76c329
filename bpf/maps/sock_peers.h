/* This file contains the map of unconnected UDP sockets: which backend each has of which service. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

/* SIDES a peer is asked from: */
#define PEER_OF_SERVICE 0 /* sendmsg: which backend has this socket for the service? */
#define PEER_OF_BACKEND 1 /* recvmsg: which service does this socket know the backend by? */

struct sock_peer_key {
	__u64 cookie; /* the socket's */
	struct address address;
	__be16 port;
	__u8 side;
	__u8 zero[5];
};

struct sock_peer {
	struct address address;
	__be16 port;
	__u16 zero;
	__u32 backend; /* number; 0: the packet programs choose */
};

/* The peers of unconnected UDP sockets, two entries each. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct sock_peer_key);
	__type(value, struct sock_peer);
} tb_sock_peers SEC(".maps");
