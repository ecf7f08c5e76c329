/* This file contains the map of network namespaces: whose sockets are served, and who they are. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "../address.h"

/* FLAGS of a network namespace: */
#define NETNS_SOCKET (1 << 0) /* socket programs translate here */
#define NETNS_PACKET (1 << 1) /* its interfaces carry the packet programs */

struct netns {
	__u32 flags;
	struct address ipv4; /* the pod's (or node's) addresses: who a socket is, for affinity; zero: none */
	struct address ipv6;
};

/* By network namespace cookie (SO_NETNS_COOKIE). Sockets of namespaces not listed are left alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct netns);
} tb_netns SEC(".maps");
